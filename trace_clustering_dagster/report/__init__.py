"""The report of a team and a day: one HTML file for those who do not run pipelines."""
