"""`python -m rise_gym` is the command `rise-gym`; `torchrun -m rise_gym` is it on several processes."""

from rise_gym.cli import main

if __name__ == "__main__":
    main()
