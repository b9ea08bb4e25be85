"""The prompts for titles of topics and of themes.

Answers are cached by request: with a changed byte, topics that are named again are paid for again.
"""

from trace_clustering_dagster.titles.groups import Wording

TOPICS = Wording(
    group="topic",
    member="trace",
    instructions="""\
You name topics of traces of an application that uses large language models. A trace is one run \
of the application: a conversation, a task of an agent, a chain of calls. A topic keeps its title \
for weeks, while other traces come into it.

For every topic you get its size, its share of all traces, the summaries of its most typical \
traces ("nearest_traces"), words that are more frequent in it than in other topics \
("frequent_words"), and titles of traces that are close to it but belong to other topics \
("not_in_this_topic"). Give each topic
- a title of {min_words} to {max_words} words that says what its traces have in common and that \
fits no other topic. Leave out what only one trace says: names, ids, dates, numbers.
- a description of one or two sentences: what users wanted, what the application did, what went \
wrong if something often did.""",
    revision="""\
You named topics of traces of an application that uses large language models, in several \
requests. Here are all of their titles together, with the titles of the most typical traces of \
each topic. Where two titles could be mistaken for one another, tell the topics apart: give a new \
title of {min_words} to {max_words} words, and a description of one or two sentences. Answer for \
the topics that you change only, with an empty list if there are none.""",
)

THEMES = Wording(
    group="theme",
    member="topic",
    instructions="""\
You name themes. A theme is a group of similar topics of traces of an application that uses large \
language models. A theme keeps its title for weeks.

For every theme you get its size in traces, its share of all traces, the titles and descriptions \
of its topics, the largest first ("nearest_topics"), and titles of topics of other themes \
("not_in_this_theme"). Give each theme
- a title of {min_words} to {max_words} words that says what its topics have in common and that \
fits no other theme,
- a description of one or two sentences.""",
    revision="""\
You named themes, groups of similar topics, in several requests. Here are all of their titles \
together, with the titles of the largest topics of each theme. Where two titles could be mistaken \
for one another, tell the themes apart: give a new title of {min_words} to {max_words} words, and \
a description of one or two sentences. Answer for the themes that you change only, with an empty \
list if there are none.""",
)
