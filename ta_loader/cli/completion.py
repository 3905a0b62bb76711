"""`litebox-ta completion SHELL`: a script by which bash, zsh or fish completes commands, options and file names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.options import Command, is_path
from ta_loader.cli.tree import Node, nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ta_loader.cli.options import Arguments, Option

_HELP = "-h --help"


def _first(node: Node) -> list[str]:
    """What may stand in place of the first word."""
    samples = ["hello", "hello-arm"] if node.command.words and node.command.words[0].strip("[].") == "TA" else []
    return [*node.actions, *node.command.choices, *samples]


def _names(options: Sequence[Option]) -> str:
    return " ".join([name for option in options for name in option.names.split(", ")] + [_HELP])


def bash(table: Sequence[Node]) -> str:
    """For bash 4.2 and later; files are completed by bash itself."""
    cases, values = [], []
    for node in table:
        key = " ".join(node.words)
        only = " only=1" if node.actions or node.command.choices else ""
        words = f'words="{" ".join(_first(node))}"{only} options="{_names(node.command.options)}"'
        cases.append(f'        "{key}") {words} ;;')
        values += [
            f'        "{key} {name}") files=1 ;;'
            for option in node.command.options
            if option.metavar and is_path(option.metavar)
            for name in option.names.split(", ")
        ]
    tops = " ".join(node.words[0] for node in table if len(node.words) == 1)
    groups = "|".join(node.words[0] for node in table if node.actions) or "-"
    return f"""\
# bash completion for litebox-ta; eval "$(litebox-ta completion bash)", or put it into
# ~/.local/share/bash-completion/completions/litebox-ta
_litebox_ta() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
    local command="${{COMP_WORDS[1]}}" words="" options="" files="" only="" place=2
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{tops} help --help --version" -- "$current"))
        return
    fi
    [ "$command" = help ] && {{ COMPREPLY=($(compgen -W "{tops}" -- "$current")); return; }}
    case "$command" in
        {groups}) [ "$COMP_CWORD" -gt 2 ] && {{ command="$command ${{COMP_WORDS[2]}}"; place=3; }} ;;
    esac
    case "$command" in
{chr(10).join(cases)}
    esac
    case "$command $previous" in
{chr(10).join(values)}
    esac
    compopt -o filenames 2>/dev/null
    if [ -z "$files" ]; then
        case "$current" in
            -*) COMPREPLY=($(compgen -W "$options" -- "$current")); return ;;
        esac
        COMPREPLY=($(compgen -W "$words" -- "$current"))
        [ -n "$only" ] && [ "$COMP_CWORD" -eq "$place" ] && return
    fi
    local IFS=$'\\n'
    COMPREPLY+=($(compgen -f -- "$current"))
}}
complete -F _litebox_ta litebox-ta
"""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def zsh(table: Sequence[Node]) -> str:
    """A file `_litebox-ta` for a folder of $fpath."""
    functions = []
    tops = [_quoted(f"{node.words[0]}:{node.command.summary}") for node in table if len(node.words) == 1]
    for node in table:
        lines = []
        for option in node.command.options:
            text = option.help.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
            value = (
                f":{option.metavar.lower()}:{'_files' if is_path(option.metavar) else ' '}" if option.metavar else ""
            )
            lines += [f"        {_quoted(f'*{name}[{text}]{value}')} \\" for name in option.names.split(", ")]
        first = " ".join(_first(node))
        rest = "_litebox_ta_words " + _quoted(first) if first else "_files"
        if node.actions:
            body = f"    if (( CURRENT == 2 )); then compadd -- {' '.join(node.actions)}; return; fi\n"
            body += f"    local action=$words[2]; shift words; (( CURRENT-- )); _litebox_ta_{node.words[0]}_$action\n"
        else:
            body = "    _arguments \\\n" + "\n".join(lines) + f"\n        {_quoted('*: :' + rest)}\n"
            body = body.replace("\\\n\n", "\\\n")
        name = "_".join(node.words).replace("-", "_")
        functions.append(f"_litebox_ta_{name}() {{\n{body}}}\n")
    return f"""\
#compdef litebox-ta
# zsh completion for litebox-ta: litebox-ta completion zsh > "${{fpath[1]}}/_litebox-ta"
_litebox_ta_words() {{ compadd -- ${{=1}}; _files }}
{"".join(functions)}
_litebox_ta() {{
    if (( CURRENT == 2 )); then
        local -a commands=({" ".join(tops)} 'help:show what a command does')
        _describe command commands
        return
    fi
    local name=${{words[2]//-/_}}
    shift words; (( CURRENT-- ))
    (( $+functions[_litebox_ta_$name] )) && _litebox_ta_$name || _files
}}
if [[ $funcstack[1] == _litebox-ta ]]; then _litebox_ta "$@"; else compdef _litebox_ta litebox-ta; fi
"""


def fish(table: Sequence[Node]) -> str:
    """A file for ~/.config/fish/completions."""
    out = ["# fish completion for litebox-ta: litebox-ta completion fish > ~/.config/fish/completions/litebox-ta.fish"]
    for node in table:
        *above, name = node.words
        place = f"__fish_seen_subcommand_from {above[0]}" if above else "__fish_use_subcommand"
        summary = _fish_quoted(node.command.summary)
        out.append(f"complete -c litebox-ta -n {_fish_quoted(place)} -f -a {name} -d {summary}")
        here = " && ".join(f"__fish_seen_subcommand_from {word}" for word in node.words)
        words = [word for word in _first(node) if word not in node.actions]
        if words:
            out.append(f"complete -c litebox-ta -n {_fish_quoted(here)} -a {_fish_quoted(' '.join(words))}")
        for option in node.command.options:
            flags = " ".join(
                f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.names.split(", ")
            )
            takes = " -r" + ("F" if is_path(option.metavar) else "f") if option.metavar else ""
            text = _fish_quoted(option.help)
            out.append(f"complete -c litebox-ta -n {_fish_quoted(here)} {flags}{takes} -d {text}")
    return "\n".join(out) + "\n"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[Sequence[Node]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def run(arguments: Arguments) -> int:
    shell = arguments.words[0]
    if shell not in SHELLS:
        raise UsageError(f"completion {shell}: there are {', '.join(SHELLS)}")
    print(SHELLS[shell](list(nodes())), end="")
    return exits.OK


COMMAND = Command(
    name="completion",
    summary="Print a script by which a shell completes commands, options and file names.",
    words=("SHELL",),
    options=(),
    run=run,
    choices=tuple(SHELLS),
    epilog="""\
SHELL is bash, zsh or fish.

examples:
  eval "$(litebox-ta completion bash)"
  litebox-ta completion zsh > "${fpath[1]}/_litebox-ta"
  litebox-ta completion fish > ~/.config/fish/completions/litebox-ta.fish""",
)
