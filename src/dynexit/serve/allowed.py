"""The methods that requests may name."""

from dynexit.decoding.controllers import methods
from dynexit.decoding.controllers.base import SecondModel
from dynexit.language_model import LanguageModel
from dynexit.methods import is_allowed, lossless_methods, split_name
from dynexit.serve.errors import ApiError
from dynexit.serve.settings import Settings


class Allowed:
    """The methods of a server: its own, and those that its settings allow; by default, all of the
    package that the models can run.

    Args:
        second: the kind of the draft model, if there is one.
    """

    def __init__(self, settings: Settings, second: SecondModel | None) -> None:
        self._own, self._allowed, self._second = settings.method, settings.methods, second

    def prepare(self, lm: LanguageModel) -> None:
        """Measure and copy what methods need before anybody waits, and before others disturb it.

        Raises:
            DynexitError: a method that is not known.
        """
        for method in (self._own, *(methods() if self._allowed is None else self._allowed)):
            lm.prepare(method)

    def lossless(self, num_layers: int) -> list[str]:
        """Those that write plain decoding's text with a model of `num_layers`."""
        known = lossless_methods(num_layers, self._second)
        if self._allowed is None:
            return known
        return [name for name in self._allowed if split_name(name) in known]

    def check(self, method: str, num_layers: int) -> None:
        """Raises ApiError where a request may not name a method."""
        if ".py:" in method and method != self._own:  # would run a file of the server's
            message = "a request may name the package's own methods only."
            raise ApiError(400, message, param="dynexit")
        if not self._has(method):
            allowed = self._allowed or self.lossless(num_layers)
            named = ", ".join(dict.fromkeys((self._own, *allowed)))
            message = f"this server does not run the method {method!r}: it runs {named}."
            raise ApiError(400, message, param="dynexit")

    def _has(self, method: str) -> bool:
        if self._allowed is not None:
            return is_allowed(method, (self._own, *self._allowed))
        make = methods().get(split_name(method))
        runs = make is not None and make().second_model in (None, self._second)
        return runs or method == self._own
