"""The prompts for titles of clusters of traces.

Answers are cached by request: with a changed byte, the clusters of every day are paid for again.
"""

from trace_clustering_dagster.titles.groups import Wording

CLUSTERS = Wording(
    group="cluster",
    member="trace",
    instructions="""\
You name clusters of traces of an application that uses large language models. A trace is one \
run of the application: a conversation, a task of an agent, a chain of calls.

For every cluster you get its size, its share of all traces, the summaries of the traces nearest \
to its centre ("nearest_traces"), and titles of traces that are close to it but belong to other \
clusters ("not_in_this_cluster"). Give each cluster
- a title of {min_words} to {max_words} words that says what its traces have in common and that \
fits no other cluster of the list,
- a description of one or two sentences: what users wanted, what the application did, what went \
wrong if something often did.""",
    revision="""\
You named clusters of traces of an application that uses large language models, in several \
groups. Here are all of their titles together, with the titles of the traces nearest to each \
cluster's centre. Where two titles could be mistaken for one another, tell the clusters apart: \
give a new title of {min_words} to {max_words} words, and a description of one or two sentences. \
Answer for the clusters that you change only, with an empty list if there are none.""",
)
