"""Specs whose latents an engine samples beside the parameters, shared by tests of densities and of posteriors."""

from __future__ import annotations

from typing import Any


def spec(data: dict[str, Any], parameters: dict[str, str], model: dict[str, str], infer: str = "nuts()") -> Any:
    return {"dgmppl": 1, "name": "joint", "data": data, "parameters": parameters, "model": model, "infer": infer}
