#!/usr/bin/env bash
# How the bundled weights were made: every command in order, about two hours on two CPU cores. Each goes on where it was
# if it is interrupted. Data come from replica seeds below 100000 only.
set -euo pipefail
run=${1:-runs/recipe}

# What a lab would have: demonstrations, and play with mistakes in it for the world model.
rise-gym collect "$run/demos" --who expert --episodes 60 --first-seed 0
rise-gym collect "$run/disturbed" --who expert --noise 1.8 --episodes 80 --first-seed 100
rise-gym collect "$run/play" --who noisy_expert --noise 0.5 --episodes 40 --first-seed 10000

# The base policy clones the 60 demonstrations.
rise-gym train policy "$run/base" --data "$run/demos"

# What it does: at full temperature nearly always wrong, at its own about every second time.
rise-gym collect "$run/wild_rollouts" --who policy --policy "$run/base/checkpoint" --noise 0.5 --temperature 1 --episodes 80 --first-seed 2000
rise-gym collect "$run/rollouts" --who policy --policy "$run/base/checkpoint" --noise 0.5 --episodes 120 --first-seed 3000

# World model: codec and dynamics from demonstrations and play, dynamics once more with all that was recorded, value.
rise-gym train codec "$run/world_model_start" --data "$run/demos" "$run/play" --steps 3000
rise-gym train dynamics "$run/world_model_start" --data "$run/demos" "$run/play" --steps 3600
mkdir -p "$run/world_model" && cp -r "$run/world_model_start/codec" "$run/world_model/"
everything=("$run/demos" "$run/disturbed" "$run/play" "$run/wild_rollouts" "$run/rollouts")
rise-gym train dynamics "$run/world_model" --data "${everything[@]}" --steps 2000 --learning-rate 6e-4 --initial "$run/world_model_start"
rise-gym train value "$run/world_model" --data "${everything[@]}" --steps 2000

# Three ways on from the same base, with equally many gradient steps at the same rate.
on=(--steps 3000 --learning-rate 4e-4)
rise-gym train policy "$run/control" --data "$run/demos" --initial "$run/base/checkpoint" "${on[@]}"
rise-gym train policy "$run/recap" --data "$run/demos" "$run/rollouts" --initial "$run/base/checkpoint" \
    --world-model "$run/world_model/checkpoint" "${on[@]}"
rise-gym improve "$run/rise" --data "$run/demos" "$run/rollouts" --policy "$run/base/checkpoint" \
    --world-model "$run/world_model/checkpoint" --proposals-per-state 4 --sibling-baseline "${on[@]}"
