"""Completion for bash, zsh and fish, made of the parser: verbs, options, and what their values are."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

from kepler_ebpf import options
from kepler_ebpf.cli import DEFAULT_VERB, parser
from kepler_ebpf.config import OPTIONS

FILE, FOLDER, COMMAND, ANYTHING = "FILE", "FOLDER", "COMMAND", "ANYTHING"
"""What a value is where it is none of some words."""
Kind = Union[str, tuple[str, ...]]
_OF_PARSER: dict[object, Kind] = {
    options.switch: ("on", "off"),
    options.all_or_number: ("all", "off"),
    options.folder: FOLDER,
    options.host_folder: FOLDER,
    options.host_folder_or_auto: FOLDER,
    options.optional_folder: FOLDER,
    options.existing_file: FILE,
    options.socket_paths: FILE,
}
_OF_METAVAR: dict[object, Kind] = {"FILE": FILE, "FILE2": FILE, "PATH": FOLDER, "COMMAND": COMMAND}
_LISTS = {"--metrics": options.LEVELS}
"""Options that take several words with commas between."""


_CLAUSE = 20  # "power model" is none


@dataclass(frozen=True)
class Argument:
    """``flags``: none of an operand. ``kind``: None of a flag without a value. ``again``: may be said twice."""

    flags: tuple[str, ...]
    kind: Kind | None
    metavar: str
    help: str
    again: bool = False


def verbs() -> dict[str, tuple[str, list[Argument]]]:
    """By verb: what it is for, and its arguments."""
    (choice,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    helps = {one.dest: one.help or "" for one in choice._choices_actions}
    return {
        name: (_short(helps[name]), [_argument(one) for one in verb._actions]) for name, verb in choice.choices.items()
    }


def _argument(action: argparse.Action) -> Argument:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    again = isinstance(action, argparse._AppendAction)
    kind = None if action.nargs == 0 else _kind(action)
    return Argument(tuple(action.option_strings), kind, metavar, _short(action.help or ""), again)


def _kind(action: argparse.Action) -> Kind:
    if action.choices is not None:
        return tuple(action.choices)
    for one in OPTIONS:
        if f"--{one.name}" in action.option_strings:
            return one.parse.words if isinstance(one.parse, options.Choice) else _OF_PARSER.get(one.parse, ANYTHING)
    return _OF_METAVAR.get(action.metavar, ANYTHING)


def _short(text: str) -> str:
    """The first clause that says something: a list of completions has a line for each."""
    clause = re.split(r"[;(]|\.(?: |$)", text.replace("%%", "%"))[0].strip()
    front = clause.partition(":")[0]
    return front if len(front) > _CLAUSE else clause


# -- bash -------------------------------------------------------------------------------------------------------------

_BASH = """\
# bash completion for kepler-ebpf, made of its parser by deploy/completion.py.

_kepler_ebpf_kind() {  # VERB OPTION; sets kind: what the option's value is, empty where it takes none
    case "$1 $2" in
@KINDS@
        *) kind= ;;
    esac
}

_kepler_ebpf_reply() {  # KIND; what completes cur
    local IFS=$'\\n'
    case $1 in
        FILE) compopt -o filenames 2> /dev/null; COMPREPLY=($(compgen -f -- "$cur")) ;;
        FOLDER) compopt -o filenames 2> /dev/null; COMPREPLY=($(compgen -d -- "$cur")) ;;
        ANYTHING) ;;
        LIST\\ *)
            local before= words=${1#LIST }
            [[ $cur == *,* ]] && before=${cur%,*},
            compopt -o nospace 2> /dev/null
            COMPREPLY=($(compgen -P "$before" -W "${words// /$IFS}" -- "${cur##*,}"))
            ;;
        *) COMPREPLY=($(compgen -W "${1// /$IFS}" -- "$cur")) ;;
    esac
}

_kepler_ebpf() {
    local cur=${COMP_WORDS[COMP_CWORD]} verb=@DEFAULT@ option= kind= i=1 command=0 word
    COMPREPLY=()
    if ((COMP_CWORD > 1)); then
        case ${COMP_WORDS[1]} in
            @VERBS@) verb=${COMP_WORDS[1]} i=2 ;;
        esac
    fi
    for ((; i < COMP_CWORD && command == 0; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $option && $word == = ]]; then
            continue  # --option=value is three words here
        elif [[ $option ]]; then
            option=
        elif [[ $word == -- ]]; then
            command=$((i + 1))
        elif [[ $word == -* ]]; then
            _kepler_ebpf_kind "$verb" "$word"
            [[ $kind ]] && option=$word
        else
            command=$i
        fi
    done
    if [[ $option ]]; then
        [[ $cur == = ]] && cur=
        _kepler_ebpf_kind "$verb" "$option"
        _kepler_ebpf_reply "$kind"
        return
    fi
    case $verb in
        @COMMANDS@)
            if ((command)) && declare -F _command_offset > /dev/null; then
                _command_offset "$command"
                return
            elif ((command && COMP_CWORD > command)); then
                _kepler_ebpf_reply FILE
                return
            elif ((command)) || [[ $cur != -* ]]; then
                COMPREPLY=($(compgen -c -- "$cur"))
                return
            fi
            ;;
        @FILES@)
            [[ $cur != -* ]] && _kepler_ebpf_reply FILE && return
            ;;
    esac
    case $verb in
@OPTIONS@
    esac
    ((COMP_CWORD == 1)) && kind="@WORDS@ --version $kind"
    _kepler_ebpf_reply "$kind"
}

complete -F _kepler_ebpf kepler-ebpf
"""


def bash() -> str:
    """usr/share/bash-completion/completions/kepler-ebpf."""
    patterns: dict[str, list[str]] = {}
    offered = []
    for verb, (_, arguments) in verbs().items():
        flags = [flag for one in arguments for flag in one.flags]
        offered.append(f'        {verb}) kind="{" ".join(flags)}" ;;')
        for one in arguments:
            for flag in one.flags if one.kind is not None else ():
                patterns.setdefault(_bash_kind(flag, one), []).append(f'"{verb} {flag}"')
    kinds = [f'        {" | ".join(some)})\n            kind="{kind}" ;;' for kind, some in patterns.items()]
    return _filled(
        _BASH,
        KINDS="\n".join(kinds),
        DEFAULT=DEFAULT_VERB,
        VERBS=" | ".join(verbs()),
        COMMANDS=" | ".join(_whose_operand_is(COMMAND)),
        FILES=" | ".join(_whose_operand_is(FILE)),
        OPTIONS="\n".join(offered),
        WORDS=" ".join(verbs()),
    )


def _bash_kind(flag: str, one: Argument) -> str:
    if flag in _LISTS:
        return "LIST " + " ".join(_LISTS[flag])
    return one.kind if isinstance(one.kind, str) else " ".join(one.kind or ())


def _whose_operand_is(kind: Kind) -> Iterator[str]:
    for verb, (_, arguments) in verbs().items():
        if any(not one.flags and one.kind == kind for one in arguments):
            yield verb


# -- zsh --------------------------------------------------------------------------------------------------------------

_ZSH = """\
#compdef kepler-ebpf
# zsh completion for kepler-ebpf, made of its parser by deploy/completion.py.

local -a verbs=(
@VERBS@
)
if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    _describe verb verbs
    return
fi
local verb=@DEFAULT@
if [[ $words[2] != -* ]]; then
    verb=$words[2]
    shift words
    (( CURRENT-- ))
fi
local -i end=${words[(i)--]}
if [[ $verb == (@COMMANDS@) ]] && (( end < CURRENT )); then
    shift $end words
    (( CURRENT -= end ))
    _normal
    return
fi
case $verb in
@CASES@
esac
"""


def zsh() -> str:
    """usr/share/zsh/vendor-completions/_kepler-ebpf."""
    cases = []
    for verb, (_, arguments) in verbs().items():
        specs = [_quoted(spec) for one in arguments for spec in _zsh_specs(one)]
        if verb == DEFAULT_VERB:
            specs.append(_quoted("(- *)--version[show the version]"))
        cases.append(f"    {verb})\n        _arguments -s -S " + " \\\n            ".join(specs) + "\n        ;;")
    described = [f"    {_quoted(f'{verb}:{text}')}" for verb, (text, _) in verbs().items()]
    return _filled(
        _ZSH,
        VERBS="\n".join(described),
        DEFAULT=DEFAULT_VERB,
        COMMANDS="|".join(_whose_operand_is(COMMAND)),
        CASES="\n".join(cases),
    )


def _zsh_specs(one: Argument) -> Iterator[str]:
    if not one.flags:
        if one.kind == COMMAND:
            yield from ("(-):command: _command_names -e", "*::arguments: _normal")
        else:
            yield f":{one.metavar}:{_zsh_action('', one)}"
        return
    text = re.sub(r"([\[\]\\])", r"\\\1", one.help)
    for flag in one.flags:
        front = "*" if one.again else f"({' '.join(one.flags)})"
        if one.kind is None:
            yield f"{front}{flag}[{text}]"
        else:
            yield f"{front}{flag}{'=' if flag.startswith('--') else '+'}[{text}]:{one.metavar}:{_zsh_action(flag, one)}"


def _zsh_action(flag: str, one: Argument) -> str:
    if flag in _LISTS:
        return f"_values -s , level {' '.join(_LISTS[flag])}"
    if isinstance(one.kind, tuple):
        return f"({' '.join(one.kind)})"
    return {FILE: "_files", FOLDER: "_files -/"}.get(one.kind or "", " ")


# -- fish -------------------------------------------------------------------------------------------------------------

_FISH = """\
# fish completion for kepler-ebpf, made of its parser by deploy/completion.py.

function __kepler_ebpf_is  # VERB...: whether one of them is being said, and no command behind it
    set -l words (commandline -opc)
    set -l verb @DEFAULT@
    contains -- -- $words; and return 1
    set -q words[2]; and not string match -q -- '-*' $words[2]; and set verb $words[2]
    contains -- $verb $argv
end

function __kepler_ebpf_command  # what completes the command behind --
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words); or return
    set -l command (string escape -- $words[(math $at + 1)..-1]) (commandline -ct)
    complete -C "$command"
end

complete -c kepler-ebpf -f
complete -c kepler-ebpf -n 'contains -- -- (commandline -opc)' -a '(__kepler_ebpf_command)'
complete -c kepler-ebpf -n __fish_is_first_arg -l version -d 'Show the version'
@LINES@
"""


def fish() -> str:
    """usr/share/fish/vendor_completions.d/kepler-ebpf.fish."""
    front, lines = "complete -c kepler-ebpf -n", []
    for verb, (text, _) in verbs().items():
        lines.append(f"{front} __fish_is_first_arg -a {verb} -d {_fish_quoted(text)}")
    for verb, (_, arguments) in verbs().items():
        lines += [f"{front} '__kepler_ebpf_is {verb}' {words}" for words in map(_fish_words, arguments) if words]
    return _filled(_FISH, DEFAULT=DEFAULT_VERB, LINES="\n".join(lines))


def _fish_words(one: Argument) -> str:
    if not one.flags:
        return "-F" if one.kind == FILE else ""
    words = [f"-s {flag[1:]}" if len(flag) == 2 else f"-l {flag[2:]}" for flag in one.flags]
    if one.flags[-1] in _LISTS:
        words.append(f"-xa '(__fish_append , {' '.join(_LISTS[one.flags[-1]])})'")
    elif isinstance(one.kind, tuple):
        words.append(f"-xa '{' '.join(one.kind)}'")
    elif one.kind is not None:
        words.append({FILE: "-rF", FOLDER: "-xa '(__fish_complete_directories)'"}.get(one.kind, "-x"))
    return " ".join([*words, "-d", _fish_quoted(one.help)])


def _fish_quoted(text: str) -> str:
    return "'" + re.sub(r"(['\\])", r"\\\1", text) + "'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _filled(text: str, **parts: str) -> str:
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], text)
