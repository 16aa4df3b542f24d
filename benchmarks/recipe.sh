#!/usr/bin/env bash
# How the bundled weights were made: every command in order, about three hours on two CPU cores. Each goes on where it was
# if it is interrupted. Data come from replica seeds below 100000 only.
set -euo pipefail
run=${1:-runs/recipe}

# What a lab would have: demonstrations by a hand that is disturbed (half of them succeed), and its mishaps for the world
# model.
rise-gym collect "$run/demos" --who expert --noise 1.8 --episodes 130 --first-seed 100
rise-gym collect "$run/mishaps" --who noisy_expert --noise 1.0 --episodes 60 --first-seed 10100

# The base policy clones the demonstrations that succeeded; then what it does, with smooth deviations.
rise-gym train policy "$run/base" --data "$run/demos" --steps 5000
rise-gym collect "$run/rollouts" --who policy --policy "$run/base/checkpoint" --noise 0.5 --episodes 300 --first-seed 3000
rise-gym collect "$run/wide" --who policy --policy "$run/base/checkpoint" --noise 1.2 --episodes 80 --first-seed 3400

# World model: codec, value and dynamics; dynamics first for the picture alone, then with the progress that a chunk gains, at
# once, later, and in the end. The bundled dynamics had been trained before, for some 28 000 steps while the method changed,
# on 1650 episodes of easier variants of the task (as commits 2c01fee and ab42851 make them with their own recipes), and its
# codec is that of 2c01fee; it then took 4000 steps on the demonstrations and mishaps, and 2200 on everything but mishaps,
# after which no policy acted on.
first=("$run/demos" "$run/mishaps")
everything=("${first[@]}" "$run/wide" "$run/rollouts")
rise-gym train codec "$run/start" --data "${first[@]}" --steps 2400
rise-gym train dynamics "$run/start" --data "${first[@]}" --steps 5000
mkdir -p "$run/world_model" && cp -r "$run/start/codec" "$run/world_model/"
rise-gym train dynamics "$run/world_model" --data "$run/demos" "$run/wide" "$run/rollouts" --steps 12000 \
    --initial "$run/start"
rise-gym train value "$run/world_model" --data "${everything[@]}" --steps 5000

# The bundled RISE policy is a first look: 144 steps (`--minutes 3.2`), from demos and rollouts alone. The rest is as it is to be.
# Three ways on from the same base, with equally many gradient steps at the same rate, and pictures that stay in place.
on=(--initial "$run/base/checkpoint" --steps 2400 --learning-rate 1e-3 --image-shift-px 0)
recorded=("$run/demos" "$run/rollouts" "$run/wide")
rise-gym train policy "$run/control" --data "$run/demos" "${on[@]}"
rise-gym train policy "$run/recap" --data "${recorded[@]}" --world-model "$run/world_model/checkpoint" \
    --demonstration-share 0.5 "${on[@]}"
rise-gym improve "$run/rise" --data "${recorded[@]}" --world-model "$run/world_model/checkpoint" \
    --policy "$run/base/checkpoint" --steps 2400 --learning-rate 1e-3 --image-shift-px 0
