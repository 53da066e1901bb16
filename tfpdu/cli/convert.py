"""`tfpdu convert`, `scripts/convert_resnet18.py`: ImageNet weights of a ResNet-18 as a file that training starts from.

    tfpdu convert --from=resnet18.npz --output=resnet18_imagenet.weights.h5 --check
    tfpdu convert --from=keras_hub:resnet_18_imagenet --output=resnet18_imagenet.weights.h5
    tfpdu run --config=cifar10:transfer --config.ensemble.initial=resnet18_imagenet.weights.h5 --workdir=runs/transfer

Takes torchvision's names in a .npz or .safetensors, or keras-hub's preset where there is a network. Prints a line a
block: what was found, what is missing or of another shape, and what the block is at first. A missing residual branch
leaves its block the identity. --check compares each block with plain arithmetic on the source's own arrays.
"""

from collections.abc import Sequence

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

_FROM = flags.DEFINE_string("from", "", "a .npz or .safetensors with torchvision's names, or keras_hub:<preset>")
_OUTPUT = flags.DEFINE_string("output", "", "where to write the weights, a .weights.h5 file; empty: only the table")
_CHECK = flags.DEFINE_bool(
    "check", False, "compare the network's blocks with plain arithmetic, and fail if they differ"
)

_ROUNDING = 1e-4  # of the largest output; float32 through a block leaves about 1e-6


def _main(argv: Sequence[str]) -> None:
    del argv
    if not _FROM.value:
        raise UserError("--from: expected a file of weights, e.g. --from=resnet18.npz, or keras_hub:resnet_18_imagenet")
    if _OUTPUT.value and not _OUTPUT.value.endswith(".weights.h5"):
        raise UserError(f"--output={_OUTPUT.value}: expected a file that ends in .weights.h5")
    from tfpdu.ensemble.conversion import convert, forward_differences
    from tfpdu.ensemble.torchvision import read_state
    from tfpdu.ensemble.transfer import table_of
    from tfpdu.reporting.formatting import aligned

    state = read_state(_FROM.value)
    table, model = convert(state, _FROM.value, _OUTPUT.value or None)
    lines = [list(line) for line in table_of(table)]
    apart = forward_differences(model, state) if _CHECK.value else {}
    if apart:
        for line in lines:
            line.append("forward difference" if line[0] == "block" else f"{apart[line[0]]:.1e}")
    print("\n".join(aligned(lines)))
    for block in table:
        if block.state != "found":
            why = (
                f"nothing fits for {block.lacking[0]}"
                if block.lacking
                else "the last scale of its branch is 0 in the source"
            )
            print(f"{block.name}: {block.state}, since {why}")
    if _OUTPUT.value:
        print(_OUTPUT.value)
    if far := [name for name, value in apart.items() if value > _ROUNDING]:
        raise UserError(f"--from={_FROM.value}: {', '.join(far)} differ from plain arithmetic by more than rounding")


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
