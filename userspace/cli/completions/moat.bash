# SPDX-License-Identifier: Apache-2.0
# Completion of moat(1) for bash. What may come next moat itself knows; where it knows nothing, names of files are offered.
_moat()
{
	local word rest i done=
	local -a words=()

	# To bash --shell=never is three words, of which it completes the last.
	for ((i = 1; i <= COMP_CWORD; i++)); do
		if [[ $i -gt 1 && (${COMP_WORDS[i]} == = || ${COMP_WORDS[i - 1]} == =) ]]; then
			words[-1]+=${COMP_WORDS[i]}
			done=${words[-1]%%=*}=
		else
			words+=("${COMP_WORDS[i]}")
			done=
		fi
	done
	COMPREPLY=()
	while IFS=$'\t' read -r word rest; do
		COMPREPLY+=("$(printf '%q' "${word#"$done"}")")
	done < <("${COMP_WORDS[0]}" completion -- "${words[@]}" 2>/dev/null)
}
complete -o bashdefault -o default -F _moat moat
