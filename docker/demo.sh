#!/bin/sh
# What `docker compose up` runs: the demo's model is trained once and published to /models.
set -eu
models=/models
run=/runs/digits
if [ ! -f "$models/models.config" ]; then
  tfpdu run --config=digits:public --workdir="$run"
  tfpdu serving publish --workdir="$run" --models="$models" --name=digits --served_from=/models
fi
echo "served as http://localhost:8501/v1/models/digits/labels/stable once the server has loaded it"
