"""A function as one stage: `@metered("student_training")`."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from stagemeter.errors import MeterError
from stagemeter.meter import Meter

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def metered(kind: str, **options: Any) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Meter every call of the function as a stage of its own. `options` are those of `Meter`.

    Inside, `current()` is the meter: `current().add_tokens(trained=…)`. A coroutine function is metered from its first
    step to its last. Raises `MeterError` for a generator, whose work is done by whoever reads it.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise MeterError(f"{function.__name__} is a generator; meter the code that reads it")
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def wait(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
                with Meter(kind, **options):
                    return await cast(Any, function(*args, **kwargs))

            return cast(Callable[Parameters, Result], wait)

        @wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            with Meter(kind, **options):
                return function(*args, **kwargs)

        return call

    return decorate
