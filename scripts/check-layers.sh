#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Check what no compiler checks: the layers, over the #includes, and the rules of the house.
#   scripts/check-layers.sh              the files under version control
#   scripts/check-layers.sh FILE...      these, with paths from the top of the tree
# Prints FILE:LINE: what is wrong; exits with 1 when there is something.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -gt 0 ]; then
	files=("$@")
else
	mapfile -t files < <(scripts/tracked.sh '*.c' '*.h' '*.S' '*.sh' '*.t' '*.mk' Makefile .ci/run)
fi

# A folder, and what it may include beside itself. The folder of a file is the longest that fits.
layers='
ctrl/base
bpf
sched           ctrl/base bpf/weft_abi.h
runtimes        ctrl/base bpf/weft_abi.h
ctrl/dataplane  ctrl/base bpf/*_abi.h bpf/*.skel.h
ctrl/state      ctrl/base bpf/weft_abi.h
ctrl/health     ctrl/base bpf/weft_abi.h sched runtimes ctrl/dataplane ctrl/state
ctrl/swap       ctrl/base bpf/weft_abi.h sched runtimes ctrl/dataplane ctrl/state ctrl/health
ctrl/engine     ctrl/base bpf/weft_abi.h sched runtimes ctrl/dataplane ctrl/state ctrl/health ctrl/swap
ctrl/api        ctrl/base bpf/weft_abi.h sched runtimes ctrl/dataplane ctrl/state ctrl/health ctrl/swap ctrl/engine
ctrl/daemon     ctrl/base bpf/weft_abi.h sched runtimes ctrl/dataplane ctrl/state ctrl/health ctrl/swap ctrl/engine ctrl/api
ctrl/cli        ctrl/base
loadgen         ctrl/base
'

LC_ALL=C awk -v layers="$layers" '
function bad(what)
{
	printf "%s:%d: %s\n", FILENAME, FNR, what
	wrong = 1
}

BEGIN {
	n = split(layers, line, "\n")
	for (i = 1; i <= n; i++) {
		words = split(line[i], word, " ")
		if (!words)
			continue
		may[word[1]] = word[1]
		for (j = 2; j <= words; j++)
			may[word[1]] = may[word[1]] " " word[j]
	}
}

function folder(path,    best, f)
{
	best = ""
	for (f in may)
		if (index(path, f "/") == 1 && length(f) > length(best))
			best = f
	return best
}

function allowed(path, own,    n, i, p, words, head, tail)
{
	n = split(may[own], words, " ")
	for (i = 1; i <= n; i++) {
		p = words[i]
		if (path == p || index(path, p "/") == 1)
			return 1
		if (index(p, "*")) {
			head = substr(p, 1, index(p, "*") - 1)
			tail = substr(p, index(p, "*") + 1)
			if (index(path, head) == 1 &&
				substr(path, length(path) - length(tail) + 1) == tail)
				return 1
		}
	}
	return 0
}

# Without strings and comments; a block comment may go over lines.
function code(s,    out, i)
{
	gsub(/\\./, "", s)
	gsub(/"[^"]*"/, "\"\"", s)
	out = ""
	while (s != "") {
		if (comment) {
			i = index(s, "*/")
			if (!i)
				return out
			s = substr(s, i + 2)
			comment = 0
		}
		i = index(s, "/*")
		if (!i)
			break
		out = out substr(s, 1, i - 1)
		s = substr(s, i + 2)
		comment = 1
	}
	sub(/\/\/.*/, "", s)
	return out s
}

# Columns with tabs of eight; a character of several bytes is one.
function columns(s,    col, n, i, part)
{
	gsub(/[\200-\277]/, "", s)
	n = split(s, part, "\t")
	for (i = 1; i <= n; i++) {
		col += length(part[i])
		if (i < n)
			col += 8 - col % 8
	}
	return col
}

function check_include(line,    path, own)
{
	path = line
	sub(/^[^"]*"/, "", path)
	sub(/".*/, "", path)
	if (path ~ /^\.\.?\//)
		bad("#include \"" path "\": write the path from the top of the tree")
	if (FILENAME ~ /^tests\//)
		return
	own = folder(FILENAME)
	if (path !~ /\// || own == "")
		return
	if (path ~ /internal\.h$/ && folder(path) != own)
		bad("#include \"" path "\": belongs to " folder(path) " alone")
	else if (!allowed(path, own))
		bad("#include \"" path "\": " own " may include only " may[own])
}

FNR == 1 {
	spdx = comment = 0
	body = 0
	is_c = FILENAME ~ /\.[ch]$/
	is_script = FILENAME ~ /\.(sh|t)$/
	files++
}
FNR <= 3 && /SPDX-License-Identifier: / { spdx = 1 }
FNR == 3 && !spdx { bad("no SPDX-License-Identifier in the first lines") }
FNR == 901 { bad("more than 900 lines: split it") }
/(^|[^A-Za-z0-9_])(TO[D]O|FIX[M]E|X[X]X)([^A-Za-z0-9_]|$)/ { bad("unfinished: finish it or open an issue") }

# A process in the background may sleep, and so may a measurement that says so: `sleep 5 # idle`.
is_script && FILENAME ~ /^tests\// &&
	/(^|[;&|({]|do|then|else)[ \t]*sleep[ \t]+[1-9]/ && !/&[ \t]*$/ && !/sleep[^#]*# *[a-z]/ {
	bad("a test waits for a condition with a deadline, not for time")
}

!is_c { next }
/^[ \t]*#[ \t]*include[ \t]*"/ { check_include($0) }
# Text that people see stays whole, so that it can be searched for.
columns($0) > 100 && !/"[^"]*(\\.[^"]*)*"[,;)}]*$/ { bad("more than 100 columns") }
{
	plain = code($0)
	if (FILENAME !~ /^bpf\// && plain ~ /(^|[^A-Za-z0-9_])goto([^A-Za-z0-9_]|$)/)
		bad("goto: let _cleanup_ do it")
	if (FILENAME ~ /^tests\/(unit|bpf|e2e|lib)\// && plain ~ /(^|[^A-Za-z0-9_])sleep[ \t]*\(/)
		bad("a test waits for a condition with a deadline, not for time")
}
/^\{/ { body = FNR }
/^\}/ && body {
	if (FNR - body - 1 > 60)
		bad("a function of " FNR - body - 1 " lines, 60 are the most")
	body = 0
}
END {
	printf "%d files checked\n", files
	exit wrong
}' "${files[@]}"
