"""What was found so far, as one JSON object in a file that is whole at any time."""

import json
from pathlib import Path
from typing import Any

from dynexit.model.files import replacing


class Results:
    """Kept in `file`, and read from it where it is there. One process at a time writes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.values: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def put(self, value: Any, *keys: str) -> None:
        """Set a value, in objects within objects that are made where they are missing."""
        place = self.values
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
        with replacing(self.file) as partial:
            partial.write_text(json.dumps(self.values, indent=1) + "\n")
