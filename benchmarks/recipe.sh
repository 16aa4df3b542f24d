#!/usr/bin/env bash
# How the bundled weights were made: every command in order, about an hour and a half on two CPU cores. Each goes on
# where it was if it is interrupted. Data come from replica seeds below 100000 only.
set -euo pipefail
run=${1:-runs/recipe}

rise-gym collect "$run/demos" --who expert --episodes 100 --first-seed 0
rise-gym collect "$run/play" --who noisy_expert --noise 0.5 --episodes 40 --first-seed 10000

rise-gym train codec "$run/world_model" --data "$run/demos" --steps 1500
rise-gym train policy "$run/start" --data "$run/demos" --steps 2500
rise-gym train policy "$run/base" --data "$run/demos" --initial "$run/start/checkpoint" --steps 3200 --learning-rate 4e-4

rise-gym collect "$run/rollouts" --who policy --policy "$run/base/checkpoint" --noise 0.5 --episodes 110 --first-seed 2000

# Dynamics: first on what was there before the base policy, then on its rollouts as well.
mkdir -p "$run/world_model_start" && cp -r "$run/world_model/codec" "$run/world_model_start/"
rise-gym train dynamics "$run/world_model_start" --data "$run/demos" "$run/play" --steps 3600
rise-gym train dynamics "$run/world_model" --data "$run/demos" "$run/play" "$run/rollouts" --steps 1500 \
    --learning-rate 6e-4 --initial "$run/world_model_start"
rise-gym train value "$run/world_model" --data "$run/demos" "$run/play" "$run/rollouts" --steps 2000

# The three rows that start from the same base and take equally many gradient steps.
policy_data=("$run/demos" "$run/rollouts")
rise-gym train policy "$run/control" --data "$run/demos" --initial "$run/base/checkpoint" --steps 1500 --learning-rate 2e-4
rise-gym train policy "$run/recap" --data "${policy_data[@]}" --initial "$run/base/checkpoint" --steps 1500 \
    --learning-rate 2e-4 --world-model "$run/world_model/checkpoint"
rise-gym improve "$run/rise" --data "${policy_data[@]}" --policy "$run/base/checkpoint" --steps 1500 \
    --learning-rate 2e-4 --world-model "$run/world_model/checkpoint"
