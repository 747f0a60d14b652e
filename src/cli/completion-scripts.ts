/**
 * Scripts that make a shell ask `berth complete` what the word under the cursor may become. That answers with a line a candidate,
 * `WORD<tab>HELP`, and a first line of what the shell itself knows besides: `files`, `directories`, `commands` or `-`.
 */
export const SCRIPTS: Readonly<Record<"bash" | "zsh" | "fish", string>> = {
  bash: String.raw`# bash completion for berth: eval "$(berth completion bash)"
_berth() {
  local line=\${COMP_LINE:0:COMP_POINT} breaks=\${COMP_WORDBREAKS-$' \t\n"\'@><=;|&(:'} words also word
  read -ra words <<<"$line"
  case $line in *[[:space:]]) words+=("") ;; esac
  # What bash takes for the word begins behind the last of its breaks, such as = and @.
  local current=\${words[\${#words[@]}-1]}
  local part=\${current##*[$breaks]}
  local prefix=\${current%"$part"}
  COMPREPLY=()
  {
    IFS= read -r also
    while IFS=$'\t' read -r word _; do COMPREPLY+=("\${word#"$prefix"}"); done
  } < <("\${words[0]}" complete -- "\${words[@]:1}" 2>/dev/null)
  case $also in
    files) compopt -o filenames; mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$part") ;;
    directories) compopt -o filenames; mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$part") ;;
    commands) mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -c -- "$part") ;;
  esac
  case "\${COMPREPLY[*]}" in *=) compopt -o nospace ;; esac
} 2>/dev/null
complete -F _berth berth
`.replaceAll("\\$", "$"),
  zsh: String.raw`#compdef berth
# zsh completion for berth: eval "$(berth completion zsh)"
_berth() {
  local also line
  local -a plain described
  {
    IFS= read -r also
    while IFS=$'\t' read -r word help; do
      plain+=("$word")
      described+=("\${word//:/\\:}:$help")
    done
  } < <("$words[1]" complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( $#described )) && _describe berth described -o nosort
  case $also in
    files) _files ;;
    directories) _files -/ ;;
    commands) _command_names -e ;;
  esac
}
compdef _berth berth
`.replaceAll("\\$", "$"),
  fish: `# fish completion for berth: berth completion fish | source
function __berth_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l answer ($words[1] complete -- $words[2..-1] 2>/dev/null)
    for line in $answer[2..-1]
        echo $line
    end
    switch "$answer[1]"
        case files
            __fish_complete_path (commandline -ct)
        case directories
            __fish_complete_directories (commandline -ct)
        case commands
            __fish_complete_command
    end
end
complete -c berth -f -a '(__berth_complete)'
`,
};
