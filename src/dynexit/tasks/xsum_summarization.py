"""XSum: news articles, each in one sentence."""

from dynexit.tasks.rows import Hub
from dynexit.tasks.summarization import Summarization


class XsumSummarization(Summarization):
    """Summaries of one sentence."""

    name = "xsum_summarization"
    # This branch holds the rows; the main one held a script, which `datasets` no longer runs.
    hub = Hub("EdinburghNLP/xsum", None, "test", revision="refs/convert/parquet")
    file = "xsum_test"
    fields = ("document", "summary")
    article, summary = "document", "summary"


TASK = XsumSummarization
