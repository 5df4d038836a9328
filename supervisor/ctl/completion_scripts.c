#include "ctl/completion.h"

#include <string.h>

#include "base/mem.h"

/* The scripts. Each passes the words up to the cursor, the last of which may be empty. */

static const struct {
	const char *shell, *script;
} scripts[] = {
	{ "bash",
	  /* Bash splits at = and : as well; the words are taken from the line instead, and what stands before
	   * the last = or : is taken from the answers. */
	  "# bash completion for proctorctl, made by `proctorctl completion bash`.\n"
	  "_proctorctl() {\n"
	  "\tlocal line=${COMP_LINE:0:COMP_POINT} breaks=${COMP_WORDBREAKS//[^=:]/} stem= words word\n"
	  "\tread -ra words <<<\"$line\"\n"
	  "\t[[ $line = *[[:space:]] ]] && words+=('')\n"
	  "\tword=${words[${#words[@]} - 1]}\n"
	  "\t[[ -z $breaks ]] || stem=${word%\"${word##*[$breaks]}\"}\n"
	  "\tmapfile -t COMPREPLY < <(\"${words[0]}\" completion bash -- \"${words[@]:1}\" 2>/dev/null)\n"
	  "\tif [[ ${COMPREPLY[0]-} = @files ]]; then\n"
	  "\t\tcompopt -o filenames 2>/dev/null\n"
	  "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"${word#\"$stem\"}\")\n"
	  "\t\treturn\n"
	  "\tfi\n"
	  "\tCOMPREPLY=(\"${COMPREPLY[@]#\"$stem\"}\")\n"
	  "}\n"
	  "complete -F _proctorctl proctorctl\n" },
	{ "zsh",
	  "#compdef proctorctl\n"
	  "# zsh completion for proctorctl, made by `proctorctl completion zsh`.\n"
	  "_proctorctl() {\n"
	  "\tlocal -a answers described\n"
	  "\tlocal answer name=${words[1]}\n"
	  "\tanswers=(\"${(@f)$(\"$name\" completion zsh -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
	  "\tif [[ ${answers[1]} = @files ]]; then\n"
	  "\t\tcompset -P '*='\n"
	  "\t\t_files\n"
	  "\t\treturn\n"
	  "\tfi\n"
	  "\tfor answer in \"${answers[@]}\"; do\n"
	  "\t\t[[ -n $answer ]] && described+=(\"${${answer%%$'\\t'*}//:/\\\\:}:${answer#*$'\\t'}\")\n"
	  "\tdone\n"
	  "\t_describe -V proctorctl described\n"
	  "}\n"
	  "if [[ ${funcstack[1]-} = _proctorctl ]]; then\n"
	  "\t_proctorctl \"$@\"\n"
	  "elif (( $+functions[compdef] )); then\n"
	  "\tcompdef _proctorctl proctorctl\n"
	  "fi\n" },
	{ "fish",
	  "# fish completion for proctorctl, made by `proctorctl completion fish`.\n"
	  "function __proctorctl_complete\n"
	  "\tset -l words (commandline -opc)\n"
	  "\tset -l current (commandline -ct)\n"
	  "\tset -l answers (command $words[1] completion fish -- $words[2..-1] \"$current\" 2>/dev/null)\n"
	  "\tif test \"$answers[1]\" = @files\n"
	  "\t\t__fish_complete_path \"$current\"\n"
	  "\telse\n"
	  "\t\tprintf '%s\\n' $answers\n"
	  "\tend\n"
	  "end\n"
	  "complete -c proctorctl -f -a '(__proctorctl_complete)'\n" },
};

void completion_print_script(FILE *out, const char *shell)
{
	for (size_t i = 0; i < ARRAY_LEN(scripts); i++)
		if (strcmp(scripts[i].shell, shell) == 0)
			(void)fputs(scripts[i].script, out);
}
