"""WMT14: news in German, to be translated into English."""

from collections.abc import Sequence
from typing import Any

from dynexit.tasks.base import Task, Template
from dynexit.tasks.rows import Hub, Row

INSTRUCTION = (
    "You are a professional translator. Translate the following sentence from German into English."
)
CUE = "English:"


class Wmt14DeEn(Task):
    """BLEU and chrF from 0 to 100: of the sentence for one text, of the corpus for all."""

    name = "wmt14_de_en"
    hub = Hub("wmt/wmt14", "de-en", "test")
    file = "wmt14_de_en_test"
    fields = ("translation.de", "translation.en")

    def preamble(self, template: Template) -> str:
        """The published instruction, or nothing where a cue says what is wanted."""
        return f"{INSTRUCTION}\n" if template == "del" else ""

    def question(self, row: Row, template: Template) -> str:
        """The German sentence; the published prompt has no cue for the English one."""
        german = f"German: {row['translation']['de']}"
        return german if template == "del" else f"{german}\n{CUE}"

    def answer(self, row: Row) -> str:
        """The English sentence."""
        return f" {row['translation']['en']}"

    def reference(self, row: Row) -> str:
        """The English sentence."""
        return str(row["translation"]["en"])

    def grade(self, text: str, reference: Any) -> dict[str, float]:
        """Sentence BLEU and chrF of the translation."""
        import sacrebleu

        text = translation(text)
        return {
            "bleu": sacrebleu.sentence_bleu(text, [reference]).score,
            "chrf": sacrebleu.sentence_chrf(text, [reference]).score,
        }

    def score_all(self, texts: Sequence[str], references: Sequence[Any]) -> dict[str, float]:
        """Corpus BLEU and chrF, which are no means of the sentences' own."""
        import sacrebleu

        pairs = [(t, r) for t, r in zip(texts, references, strict=True) if r is not None]
        if not pairs:
            return {}
        found, wanted = [translation(t) for t, _ in pairs], [[r for _, r in pairs]]
        bleu = sacrebleu.corpus_bleu(found, wanted, force=True)  # rows may be tokenised
        return {"bleu": bleu.score, "chrf": sacrebleu.corpus_chrf(found, wanted).score}


def translation(text: str) -> str:
    """The first line that says something, without a cue that the model wrote itself."""
    return text.lstrip().removeprefix(CUE).lstrip().partition("\n")[0].rstrip()


TASK = Wmt14DeEn
