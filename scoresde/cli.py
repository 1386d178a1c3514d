"""The command line: ``scoresde verify | list | explain | doctor``.

Exit status: 0 every verdict as expected; 1 a verdict contradicts what is expected; 2 bad input, said in one line; 3 with --strict, something
inconclusive. 70: an error inside scoresde itself. Nothing heavy is imported before the arguments are read.
"""

import argparse
import difflib
import json
import os
import sys

__all__ = ["main"]

OPPOSITE, BAD_INPUT, INCONCLUSIVE, INTERNAL, INTERRUPTED, PIPE_CLOSED = 1, 2, 3, 70, 130, 141


# ---- arguments ------------------------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """argparse says what is wrong in two lines and under the subcommand's name; here it is one line, raised."""

    def error(self, message):
        raise ValueError(message)


def _seed(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, allowed is a whole number >= 0")
    return int(text)


def _alpha(text):
    try:
        alpha = float(text)
    except ValueError:
        alpha = 0.0
    if not 0 < alpha < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, allowed is a probability of error between 0 and 1, such as 1e-6")
    return alpha


def _parser():
    parser = _Parser(prog="scoresde", description="A numerical laboratory for score-based diffusion.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"scoresde {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="verify | list | explain | doctor")

    def command(name, run, text):
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False, epilog=__doc__.split("\n\n")[1].split(" 70:")[0])
        sub.add_argument("--json", metavar="FILE", help="the same as strict JSON; - or a pipe: written there, the text goes to standard error")
        sub.set_defaults(run=run)
        return sub

    verify = command("verify", _verify, "Check the theorems on a target and print a verdict each.")
    verify.add_argument("--target", metavar="NAME|FILE.json", help="a built-in target, or a law in JSON (default: the default targets)")
    verify.add_argument("--data", metavar="FILE", help="a .csv or .npy file of points: its kernel density estimate is the target")
    verify.add_argument("--raw", action="store_true", help="with --data: neither centre nor scale")
    verify.add_argument("--only", metavar="ID[,ID]", help="these theorems only (scoresde list shows the ids), or a chapter such as A")
    verify.add_argument("--all", action="store_true", help="all theorems in full on the default targets, as without options; refuses what narrows")
    verify.add_argument("--quick", action="store_true", help="smaller sweeps, and of the default targets the first only")
    verify.add_argument("--rigorous", action="store_true", help="prove those that can be: Gaussian mixtures on the line, in ball arithmetic")
    verify.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed of everything random (default 0)")
    verify.add_argument("--alpha", type=_alpha, default=1e-6, metavar="A", help="probability of any wrong verdict by chance (default 1e-6)")
    verify.add_argument("--strict", action="store_true", help="exit status 3 if anything is inconclusive")
    command("list", _list, "The theorems: id, title and last verdict.")
    command("explain", _explain, "A theorem: statement, assumptions, source, method, caveat, last verdict.").add_argument(
        "id", metavar="ID", help="such as D4"
    )
    command("doctor", _doctor, "Versions, machine, optional parts, and a self-check.")
    return parser, commands


def _version():
    from . import __version__

    return __version__


def _parse(argv):
    """The arguments, or ValueError with one line: what was got, what is allowed."""
    parser, commands = _parser()
    first = next((a for a in argv if not a.startswith("-")), None)
    if first is not None and first not in commands.choices:
        raise ValueError(_unknown("command", first, commands.choices))
    args, unknown = parser.parse_known_args(argv)
    if args.command is None and not unknown:
        raise ValueError(f"got no command, allowed are {', '.join(commands.choices)}; start with: scoresde verify")
    if unknown:
        if not unknown[0].startswith("-"):
            raise ValueError(f"{args.command}: got the extra word {unknown[0]!r}; scoresde {args.command} --help shows what is allowed")
        options = commands.choices.get(args.command, parser)._option_string_actions
        raise ValueError(_unknown("option", unknown[0], [o for o in options if o.startswith("--")]))
    return args


def _unknown(what, got, allowed):
    """One line for a name that does not exist, with the nearest one that does."""
    lower = {a.lower(): a for a in allowed}
    near = difflib.get_close_matches(got.lower(), lower, n=1, cutoff=0.5)
    return f"{what}: got {got!r}, allowed are {', '.join(allowed)}" + (f"; did you mean {lower[near[0]]}?" if near else "")


def main(argv=None):
    """Run the command line; returns the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows ? for a sign; the words remain
    try:
        try:
            args = _parse(argv)
            if args.json:
                _check_destination(args.json)
            work = args.run(args)  # reads and checks all input; what it returns does the work
        except SystemExit as done:  # --help, --version
            return done.code or 0
        except (ValueError, TypeError, OSError) as error:
            print(f"scoresde: {' '.join(_message(error).split())}", file=sys.stderr)
            return BAD_INPUT
        status = work()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("\nscoresde: interrupted; no file was written", file=sys.stderr)
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the reader (head, say) has seen enough; rich turns that into a SystemExit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception:
        import traceback

        traceback.print_exc()
        print(f"scoresde: an error inside scoresde {_version()}, not in your input; please report the lines above", file=sys.stderr)
        return INTERNAL


def _message(error):
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


# ---- output ---------------------------------------------------------------------------------------------------------------------------


def _check_destination(path):
    from .files import check_writable

    check_writable(path)


def _console(args):
    """Where text goes: standard output, unless the JSON goes to - or to something that is not a regular file."""
    from rich.console import Console

    from .files import is_regular
    from .report.table import PIPE

    aside = args.json is not None and not is_regular(args.json)
    file = sys.stderr if aside else sys.stdout
    width = None if file.isatty() or "COLUMNS" in os.environ else PIPE
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def _print(console, line=""):
    console.print(line, soft_wrap=True)


def _write_json(args, report):
    if args.json is not None:
        from .files import write_whole

        write_whole(args.json, json.dumps(report, allow_nan=False, ensure_ascii=False, indent=1) + "\n")


# ---- commands: each reads its input and returns the function that does the work -------------------------------------------------------


def _theorems(ids=None, what="--only"):
    """The theorems with these ids or beginnings of ids (comma-separated, any case), in the catalogue's order; all of them for None."""
    from .theorems import ALL, family

    if ids is None:
        return list(ALL)
    words, wanted = [i.strip() for i in ids.split(",") if i.strip()], []
    if not words:
        raise ValueError(f"{what}: got {ids!r}, allowed are ids such as {', '.join(f.info.id for f in ALL[:3])}, separated by commas")
    for word in words:
        try:
            wanted += family(word)
        except ValueError:
            raise ValueError(_unknown(what, word, dict.fromkeys(f.info.id for f in ALL))) from None
    return [f for f in ALL if f in wanted]


def _targets(args):
    """[(name, law, lines that say where it comes from)]."""
    if args.data is not None and args.target is not None:
        raise ValueError("give --data or --target, not both")
    if args.raw and args.data is None:
        raise ValueError("--raw: only with --data; a built-in or JSON target is always taken as it is")
    if args.data is not None:
        from .data import as_target, read_points

        points, read = read_points(args.data)
        law, preparation = as_target(points, raw=args.raw)
        return [(os.path.basename(args.data), law, [read, *preparation.lines])]
    from . import targets

    if args.target is None:
        names = list(targets.DEFAULTS)
        return [(name, targets.ALL[name], []) for name in (names[:1] if args.quick else names)]
    if args.target in targets.ALL:
        return [(args.target, targets.ALL[args.target], [])]
    if args.target.endswith(".json") or os.path.exists(args.target):
        from .serial import load

        law = load(args.target)
        if not hasattr(law, "noised"):
            raise ValueError(f"--target: {args.target} holds a {type(law).__name__}, allowed is a law, such as a gaussian_mixture")
        return [(os.path.basename(args.target), law, [])]
    raise ValueError(_unknown("--target", args.target, targets.ALL) + "; a file's name ends in .json")


def _verify(args):
    narrows = [f"--{name}" for name in ("target", "data", "only", "quick", "rigorous") if getattr(args, name)]
    if args.all and narrows:
        raise ValueError(f"--all: got it with {narrows[0]}, which asks for less; give one of them")
    theorems, targets = _theorems(args.only), _targets(args)
    if args.rigorous:
        theorems = _proofs(theorems, args.only is not None)

    def work():
        from .report.verify import run

        options = {"seed": args.seed, "alpha": args.alpha, "quick": args.quick, "rigorous": args.rigorous}
        claims, report = run(targets, theorems, console=_console(args), **options)
        _write_json(args, report)
        _keep(claims, "rigorous" if args.rigorous else "quick" if args.quick else "")
        if not all(c.as_expected for c in claims):
            return OPPOSITE
        return INCONCLUSIVE if args.strict and any(c.verdict == "inconclusive" for c in claims) else 0

    return work


def _keep(claims, way):
    """The verdicts into the user's record; where that cannot be written, the run counts all the same."""
    import sqlite3

    from .report import record

    try:
        record.keep(claims, way)
    except (OSError, sqlite3.Error) as reason:
        print(f"scoresde: the verdicts were not kept for scoresde list: {record.path()}: {reason}", file=sys.stderr)


def _proofs(theorems, all_of_them):
    """The theorems for --rigorous: those that can be proved, or all that were asked for. ValueError without python-flint."""
    from importlib.util import find_spec

    from .theorems import provable

    if find_spec("flint") is None:
        raise ValueError("--rigorous: python-flint is not installed; pip install 'scoresde[rigorous]'")
    return [f for f in theorems if all_of_them or provable(f)]


def _list(args):
    theorems = _theorems()

    def work():
        from rich.text import Text

        from .report.record import last
        from .report.unicode import plain

        console, ids, found = _console(args), {}, last()
        for f in theorems:
            ids.setdefault(f.info.id, []).append(f)
        if args.json is None:
            for f in theorems:
                before = found.get(f.__name__)
                style = "dim" if before is None else "green" if before.as_expected else "bold red"
                word = "" if before is None else before.word
                _print(console, Text.assemble((f"{f.info.id:<6}", "bold"), (f" {word:<16}", style), f" {plain(f.info.title)}"))
            if not found:
                _print(console, "No verdicts yet: scoresde verify")
        keys = ("id", "title", "reference")
        _write_json(args, [{k: getattr(fs[0].info, k) for k in keys} | {"last": _last(found, fs)} for fs in ids.values()])
        return 0

    return work


def _last(found, theorems):
    """The last verdicts of the theorems of one id for the JSON, or None."""
    from dataclasses import asdict

    return next((asdict(found[f.__name__]) for f in theorems if f.__name__ in found), None)


def _explain(args):
    theorems = _theorems(args.id, "explain")

    def work():
        from .report.explain import explained

        console = _console(args)
        for line in explained(theorems, console.width):
            _print(console, line)
        keys = ("id", "title", "reference", "statement", "assumptions", "caveat")
        _write_json(args, [{k: getattr(f.info, k) for k in keys} for f in theorems])
        return 0

    return work


def _doctor(args):
    def work():
        import textwrap

        from . import doctor

        findings = doctor.examine()
        console = _console(args)
        for text in doctor.lines(findings):
            for line in textwrap.wrap(text, console.width, subsequent_indent="    ", break_long_words=False):
                _print(console, line)
        _write_json(args, findings)
        return 0 if findings["ok"] else OPPOSITE

    return work
