# shellcheck shell=bash
# For scripts that look at documents. Source it; it runs nothing by itself.

# dead_links FILE...: the relative links of these Markdown files that lead to nothing, one a line.
dead_links() {
  local document link
  for document in "$@"; do
    while read -r link; do
      [[ -e "$(dirname "$document")/$link" ]] || echo "$document: $link"
    done < <(grep -oE '\]\([^):# ]+' "$document" | cut -c 3- | grep -v '^https\?$' || true)
  done
}
