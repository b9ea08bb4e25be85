"""The report of a team and day: one HTML file for people who do not run pipelines."""
