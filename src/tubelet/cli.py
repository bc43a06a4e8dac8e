"""The command line: one subcommand is one call. Heavy imports wait for the command that needs them."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from tubelet import __version__
from tubelet.errors import InputError, near_miss


def generate(arguments: list[str]) -> None:
    """Videos from a prompt, or from a .txt or .csv of prompts."""
    import tyro

    from tubelet.sampling.flags import Generate

    flags = tyro.cli(Generate, args=arguments, prog="tubelet generate")

    from tubelet.sampling.command import generate_files

    generate_files(**vars(flags))


def replay(arguments: list[str]) -> None:
    """Make a video again from the recipe in its file, and say whether it is the same."""
    import tyro

    def replay(
        file: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]],
        /,
        out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
        checkpoint: Path | None = None,
        weaker: Path | None = None,
        max_pixels: int | None = None,
    ) -> None:
        """Make a video again from the recipe in its file, and say whether it is the same.

        Exit code 0: the frames are the same, bit for bit, and the file shows them. 2: they are not, or the file is
        not; what differs is said.

        Args:
            file: A .mp4, .gif or .png that tubelet wrote.
            out: Where to write the clip made again: .mp4, .gif or .png.
            checkpoint: Folder of the checkpoint that made it; the one that ships when left out.
            weaker: Folder of the weaker checkpoint that guided it, where one did.
            max_pixels: The most pixels a recipe may ask for; 16 million when left out.
        """
        from tubelet.sampling.command import replay_file

        replay_file(file, checkpoint=checkpoint, weaker=weaker, out=out, max_pixels=max_pixels)

    tyro.cli(replay, args=arguments, prog="tubelet replay")


def train(arguments: list[str]) -> None:
    """Train a denoiser as a config says; the same command goes on where it stopped."""
    from tubelet.training.command import train_denoiser

    train_denoiser(arguments)


def train_codec(arguments: list[str]) -> None:
    """Train a codec as a config says; the same command goes on where it stopped."""
    from tubelet.training.command import train_codec

    train_codec(arguments)


def world(arguments: list[str]) -> None:
    """Write clips of a rendered world as a folder of mp4 with metadata.jsonl."""
    import tyro

    from tubelet.data.command import write_world

    tyro.cli(write_world, args=arguments, prog="tubelet world")


def bound(arguments: list[str]) -> None:
    """The variational bound of a checkpoint on held-out clips, term by term, in bits per pixel value."""
    from tubelet.evaluation.command import bound

    bound(arguments)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "bound": bound,
    "generate": generate,
    "replay": replay,
    "train": train,
    "train-codec": train_codec,
    "world": world,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand. Exit codes: 0 done, 2 the user can mend it, 1 a bug, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(f"tubelet {__version__}")
        sys.exit(0)
    try:
        if words[0] not in COMMANDS:
            raise InputError(f"unknown command {words[0]!r}; {near_miss(words[0], list(COMMANDS))}")
        COMMANDS[words[0]](words[1:])
    except (InputError, OSError) as error:
        print(f"tubelet: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("tubelet: interrupted", file=sys.stderr)
        sys.exit(130)


def overview() -> str:
    """The top-level help."""
    rows = [f"  {name:<12} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    head = "usage: tubelet COMMAND ...\n\nText-to-video diffusion to train, sample and measure.\n"
    return "\n".join([head, *rows, "", "tubelet COMMAND --help says more; --version prints the version."])
