#!/bin/sh
# A mail delivery agent: keeps standard input as the next numbered file of the folder $1.
exec cat >"$1/$(($(ls "$1" | wc -l) + 1))"
