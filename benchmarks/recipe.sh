#!/usr/bin/env bash
# How the bundled weights were made: every command in order, about six hours on two CPU cores. Each goes on where it was
# if it is interrupted. Data come from replica seeds below 100000 only.
set -euo pipefail
run=${1:-runs/recipe}

# What a lab would have: demonstrations by a hand that is disturbed (half of them succeed), and its mishaps for the world
# model.
rise-gym collect "$run/demos" --who expert --noise 1.8 --episodes 130 --first-seed 100
rise-gym collect "$run/mishaps" --who noisy_expert --noise 1.0 --episodes 60 --first-seed 10100

# The base policy clones the demonstrations that succeeded, until more steps hardly lift it (benchmarks/plateau.py). On the
# way and in the end it is recorded with smooth deviations.
on=(--data "$run/demos" --learning-rate 1e-3 --image-shift-px 0)
rise-gym train policy "$run/base_5000" --data "$run/demos" --steps 5000
rise-gym train policy "$run/base_7000" --initial "$run/base_5000/checkpoint" --steps 2000 "${on[@]}"
rise-gym train policy "$run/base_9400" --initial "$run/base_7000/checkpoint" --steps 2400 "${on[@]}"
rise-gym train policy "$run/base_11800" --initial "$run/base_9400/checkpoint" --steps 2400 "${on[@]}"
rise-gym train policy "$run/base" --initial "$run/base_11800/checkpoint" --steps 2400 "${on[@]}"
rise-gym collect "$run/early" --who policy --policy "$run/base_5000/checkpoint" --noise 0.5 --episodes 300 --first-seed 3000
rise-gym collect "$run/wide" --who policy --policy "$run/base_5000/checkpoint" --noise 1.2 --episodes 80 --first-seed 3400
rise-gym collect "$run/rollouts" --who policy --policy "$run/base_9400/checkpoint" --noise 0.5 --episodes 220 --first-seed 4000
rise-gym collect "$run/fresh" --who policy --policy "$run/base/checkpoint" --noise 0.5 --episodes 120 --first-seed 5000
