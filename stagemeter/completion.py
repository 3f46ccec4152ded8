"""Shell completion, written out of the parser: commands, options, and the choices of an option."""

import argparse

SHELLS = ("bash", "zsh", "fish")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The lines to put into the shell's start-up file, or to `source` at once."""
    words = {name: _options(command) for name, command in _commands(parser).items()}
    return _fish(words) if shell == "fish" else _bash(words, zsh=shell == "zsh")


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _options(command: argparse.ArgumentParser) -> list[str]:
    """Its options, then the choices of its arguments."""
    names = [name for action in command._actions for name in action.option_strings if name.startswith("--")]
    choices = [
        str(choice) for action in command._actions if not action.option_strings for choice in action.choices or ()
    ]
    return [*names, *choices]


def _bash(words: dict[str, list[str]], *, zsh: bool) -> str:
    cases = "\n".join(f"    {name}) words={' '.join(options)!r} ;;" for name, options in words.items())
    head = "autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return f"""{head}_stagemeter() {{
  local words current=${{COMP_WORDS[COMP_CWORD]}}
  case ${{COMP_WORDS[1]}} in
{cases}
    *) words='' ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then words={" ".join(words)!r}; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ "${{#COMPREPLY[@]}}" -eq 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
}}
complete -o filenames -F _stagemeter stagemeter
"""


def _fish(words: dict[str, list[str]]) -> str:
    lines = [f"complete -c stagemeter -n __fish_use_subcommand -xa {' '.join(words)!r}"]
    for name, options in words.items():
        seen = f"'__fish_seen_subcommand_from {name}'"
        for option in options:
            how = f"-l {option[2:]}" if option.startswith("--") else f"-a {option}"
            lines.append(f"complete -c stagemeter -n {seen} {how}")
    return "\n".join(lines) + "\n"
