"""CNN/DailyMail: news articles and their highlights."""

from dynexit.tasks.rows import Hub
from dynexit.tasks.summarization import Summarization


class CnnDmSummarization(Summarization):
    """Summaries of a few sentences."""

    name = "cnn_dm_summarization"
    hub = Hub("abisee/cnn_dailymail", "3.0.0", "test")
    file = "cnn_dailymail_test"
    fields = ("article", "highlights")
    article, summary = "article", "highlights"


TASK = CnnDmSummarization
