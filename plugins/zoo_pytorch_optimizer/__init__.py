"""Optional built-in plugin ``pytorch-optimizer``: the catalogue of pytorch_optimizer (Kim 2021).

Each under the library's own name in lower case, ``pytorch-optimizer/prodigy``. A bare name that
zoo or timm also has means theirs. Declared as a table that was generated from version 4.1.0, at
the time both the newest and the oldest one that it is true of; a test compares it with the
installed one. Second-order ones (adahessian, sophiah) are tagged ``needs-create-graph``, which the
engine obeys.

What the library has and is not declared, each for a reason that was measured or read in its code:

=================== =============================================================================
adam                torch's own, which the plugin ``torch`` has
adamw               torch's own, which the plugin ``torch`` has
nadam               torch's own, which the plugin ``torch`` has
rmsprop             torch's own, which the plugin ``torch`` has
sgd                 torch's own, which the plugin ``torch`` has
lbfgs               evaluates the loss many times a step through a closure, and takes one group
bsam                evaluates the loss twice a step through a closure; ``--sam`` does likewise
alig                its step is a function of the loss, which the engine does not hand to a step
emofact             without the loss in its step it is another optimizer than its name says
emolynx             without the loss in its step it is another optimizer than its name says
emonavi             without the loss in its step it is another optimizer than its name says
adalomo             updates inside the backward pass, so nothing is left to clip or to schedule
lomo                updates inside the backward pass, so nothing is left to clip or to schedule
adammini            takes the network and its heads by name, where the engine has groups
muonclip            clips attention by the names of its weights; without them it is muon
lorarite            takes pairs of LoRA factors and fails on any other parameter
spectralsphere      takes matrices alone and fails on any other parameter
magma               wraps another optimizer
demo                exchanges momenta between processes, and needs einops
distributedmuon     needs a process group
ranger21            has its own schedule, and must know the number of steps beforehand
a2grad              has neither a learning rate nor weight decay
asgd                divides by the learning rate, so it fails where a schedule ends at 0
adashift            holds ten gradients of every parameter, and stands still for as many steps
gravity             divides by the learning rate, so it fails where a warm-up begins at 0
kate                climbs: from 1e-4 to 1 no rate lowered a quadratic within 100 steps
sara                trains only weights below a threshold; others, and whole layers, stand still
schedulefreeadamw   is to be evaluated at other weights than it trains, by calls of its own
schedulefreeradam   is to be evaluated at other weights than it trains, by calls of its own
schedulefreesgd     is to be evaluated at other weights than it trains, by calls of its own
splus               is to be evaluated at other weights than it trains, by calls of its own
conda               keeps objects in its state, which no checkpoint without pickle can hold
scalableshampoo     keeps objects in its state, which no checkpoint without pickle can hold
apollo              keeps objects in its state once it has a rank; without a rank it is AdamW
fira                keeps objects in its state once it has a rank; without a rank it is AdamW
galore              keeps objects in its state once it has a rank; without a rank it is AdamW
kron                draws from numpy's global generator, so no run repeats; ``timm/kron`` does not
=================== =============================================================================

Wrappers that the library does not count among its optimizers (SAM, Lookahead, PCGrad and others)
take a closure or another optimizer, and are not declared either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.plugin import hookimpl
from zoo_pytorch_optimizer._catalogue import optimizer_components

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zoo.plugin import Component

__all__ = ["zoo_components"]


@hookimpl
def zoo_components() -> Iterable[Component]:
    """Yields the optimizers. Imports neither pytorch_optimizer nor torch."""
    yield from optimizer_components()
