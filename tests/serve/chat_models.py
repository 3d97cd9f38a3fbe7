"""Checkpoints with chat templates."""

from pathlib import Path

import dynexit

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def chat_model(folder: Path, template: str = TEMPLATE) -> dynexit.LanguageModel:
    """The bundled checkpoint with a chat template."""
    for file in Path(dynexit.__file__).parent.joinpath("bundled").iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").write_text(template)
    return dynexit.load(folder, device="cpu", check=False)
