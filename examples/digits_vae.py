"""A variational autoencoder on bundled digits: objective, training, bounds, samples, the other backend."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import dgmppl as dg


def main(epochs: int = 60) -> None:
    """Fits the zoo's VAE on NumPyro and evaluates the same parameters on Pyro."""
    spec = dg.Spec(
        name="vae",
        data={"x": dg.data("digits.images", transform=[dg.flatten(), dg.binarize(8)], split={"test": 0.1, "seed": 0})},
        networks={"encoder": dg.mlp([256, 256]), "decoder": dg.mlp([256, 256])},
        model={"z": dg.Normal(0, 1, shape=16), "x": dg.Bernoulli(logits=dg.net.decoder(dg.var.z))},
        guide={"z": dg.Normal(**dg.net.encoder(dg.var.x))},
        train={"optimizer": dg.adam(1e-3), "batch_size": 128, "epochs": epochs},
    )
    program = dg.compile(spec, backend="numpyro")
    print(program.objective.text())
    fit = program.fit(seed=0)
    print(f"ELBO {fit.elbo(particles=50).mean():.2f} nats per datum")
    print(f"IWAE {fit.iwae(particles=50).mean():.2f} nats per datum")
    print(f"samples {fit.sample(4).shape}")
    with tempfile.TemporaryDirectory() as folder:
        same = dg.load(fit.save(Path(folder) / "vae"), backend="pyro")
        print(f"on Pyro {same.elbo(particles=50).mean():.2f} nats per datum")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
