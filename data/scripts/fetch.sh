# Functions shared by the fetch scripts: source this file, do not run it.
# It exits at the first error and works in the folder data/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The interpreter: $PYTHON, else that of .venv if it exists, else python3.
python=../.venv/bin/python
[ -x $python ] || python=python3
python=${PYTHON:-$python}

# has_digest FILE md5|sha256 PREFIX: true if the file's digest starts with PREFIX.
has_digest() {
  local found
  if command -v "$2sum" >/dev/null; then
    found=$("$2sum" "$1" | cut -d ' ' -f 1)
  elif [ "$2" = md5 ]; then           # macOS
    found=$(md5 -q "$1")
  else
    found=$(shasum -a 256 "$1" | cut -d ' ' -f 1)
  fi
  [[ $found == "$3"* ]]
}

# fetch URL FILE md5|sha256 PREFIX: downloads a file unless it exists, resuming an interrupted download.
# The file gets its name only after its digest has been checked.
fetch() {
  local url=$1 file=$2 kind=$3 digest=$4
  mkdir -p "$(dirname "$file")"
  if [ -f "$file" ]; then
    has_digest "$file" "$kind" "$digest" && { echo "$file is there"; return; }
    echo "data/$file is not the file expected ($kind $digest...): move it away and start again" >&2
    return 1
  fi
  echo "fetching $url"
  # An earlier download may be complete already: servers refuse to resume past the end of a file.
  has_digest "$file.part" "$kind" "$digest" 2>/dev/null ||
  curl --fail --location --retry 5 --continue-at - --output "$file.part" "$url" || {
    echo "could not fetch $url; start again to go on where it stopped" >&2
    return 1
  }
  has_digest "$file.part" "$kind" "$digest" || {
    rm -f "$file.part"
    echo "$url did not give the file expected ($kind $digest...); what came was removed" >&2
    return 1
  }
  mv "$file.part" "$file"
}

# use_archive FILE MD5: unpacks an archive that the user has put into data/; false if there is none.
use_archive() {
  [ -f "$1" ] || return 1
  has_digest "$1" md5 "$2" || { echo "data/$1 is damaged: its md5 is not $2" >&2; exit 1; }
  # bash does not exit at errors inside a function called in a condition.
  tar -xzf "$1" || { echo "data/$1 could not be unpacked" >&2; exit 1; }
  echo "unpacked data/$1"
}
