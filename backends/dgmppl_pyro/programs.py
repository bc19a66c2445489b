"""Parts of emitted `Model` and `Guide`: ordinary Pyro programs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule
from pyro.nn.module import _Context
from torch import Tensor, nn


class LocalContext(_Context):  # type: ignore[misc]
    """PyroModule's context without its exchange of the global parameter store.

    The exchange strips the store's tensors of their marks, so that a guide of the global store (an autoguide) could not
    call a model of local parameters. Programs name none but their own parameters: nothing has to be exchanged.
    """

    def __enter__(self) -> None:
        self.active += 1
        self.used = True

    def __exit__(self, *error: object) -> None:
        self.active -= 1
        if not self.active:
            self.cache.clear()


class LocalModule(PyroModule):  # type: ignore[misc]
    """A PyroModule whose parameters stay its own: nothing of it enters the global parameter store.

    It works with `SVI`, with ELBOs as modules, with autoguides and with MCMC alike. Two of them that share a network
    share its parameters.

    Attributes:
        like: a scalar on the module's device, of its dtype.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Args: the parameters that it will hold, for the dtype and device of what it makes itself."""
        super().__init__()
        with pyro.settings.context(module_local_params=True):
            self._pyro_context = LocalContext()
        arrays = [
            array
            for value in parameters.values()
            for array in (value.parameters() if isinstance(value, nn.Module) else [value])
        ]
        self.register_buffer("like", arrays[0].detach().new_zeros(()) if arrays else torch.zeros(()), persistent=False)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Runs the program with parameter statements that name this module's own parameters."""
        for parameter in self.parameters():
            # pyro.infer.SVI asks every parameter statement's value for its unconstrained leaf.
            parameter.unconstrained = weakref.ref(parameter)
        with pyro.settings.context(module_local_params=True):
            return super().__call__(*arguments, **keywords)


def random_module(name: str, module: nn.Module, prior: Any) -> Callable[..., Any]:
    """The module as a function whose every array is drawn from a prior, at sites named `name.layers.0.weight`."""
    drawn: dict[str, Tensor] = {
        path: pyro.sample(f"{name}.{path}", prior.expand(array.shape).to_event(array.ndim))
        for path, array in module.named_parameters()
    }
    return lambda *inputs: torch.func.functional_call(module, drawn, inputs)
