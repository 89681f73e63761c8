# shellcheck shell=sh
# Python environments of a checkout, for ./try and tests/run, which source this. Both set `self` (their
# name in messages) and `here` (the checkout).
: "${self:?}" "${here:?}"

# An interpreter that can run the checks and make an environment over the network.
suits() { # PYTHON
    "$1" -c 'import sys, ssl, sqlite3; sys.exit(sys.version_info < (3, 9))' 2>/dev/null
}

first_that() { # TEST PYTHON...: the first of these interpreters that passes
    passes=$1
    shift
    for candidate in "$@"; do
        if "$passes" "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

can_make_environments() { # PYTHON: Debian has venv in a package of its own
    suits "$1" && "$1" -c 'import venv; from ensurepip import version' 2>/dev/null
}

apt_install() { # PACKAGE...: false unless this is root on Debian or a relative
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "$self: installing $*" >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" \
        >/dev/null 2>&1 </dev/null || {
        apt-get update -qq >&2 </dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" \
            >/dev/null </dev/null
    }
}

# The first suitable interpreter that can make environments; installs what Debian lacks for it.
an_interpreter() { # PYTHON...
    first_that can_make_environments "$@" && return
    if ! first_that suits "$@" >/dev/null; then
        apt_install python3 python3-venv || {
            echo "$self: Python 3.9 or later is needed, with ssl and sqlite3" >&2
            return 1
        }
    else
        apt_install python3-venv || {
            echo "$self: first: sudo apt install python3-venv" >&2
            return 1
        }
    fi
    first_that can_make_environments "$@" /usr/bin/python3 || {
        echo "$self: no Python here can make a virtual environment (python3 -m venv)" >&2
        return 1
    }
}

# What an environment was made of. Another interpreter, another version of it, other dependencies, a
# checkout that was moved: each makes another text, and an environment that was never finished has none.
made_of() { # DIRECTORY PYTHON WHAT...
    printf '%s\n' "$@"
    "$2" -c 'import sys; print(sys.base_prefix, *sys.version_info)'
    cat "$here/setup.cfg" "$here/pyproject.toml" | cksum
}

is_made_of() { # DIRECTORY TEXT
    [ "$(cat "$1/made-of" 2>/dev/null)" = "$2" ] && "$1/bin/python" -c '' 2>/dev/null
}

# Make DIRECTORY with PYTHON and have pip install WHAT, unless it is there and was made of the same.
# A subshell, so that two runs at once wait for each other and the lock ends with it.
environment() ( # DIRECTORY PYTHON WHAT...
    wanted=$(made_of "$@") || exit 1
    directory=$1 interpreter=$2
    shift 2
    # One that another user made will do, though we may not write there.
    is_made_of "$directory" "$wanted" && exit 0
    mkdir -p "$(dirname "$directory")" && exec 9>"$directory.lock" || exit 1
    command -v flock >/dev/null && flock 9
    is_made_of "$directory" "$wanted" && exit 0
    echo "$self: making $directory" >&2
    rm -rf "$directory" &&
        "$interpreter" -m venv "$directory" >&2 &&
        "$directory/bin/python" -m pip install -qq --disable-pip-version-check "$@" >&2 </dev/null &&
        printf '%s\n' "$wanted" >"$directory/made-of"
)
