"""What happens around Hydra's multirun: which jobs there are, running them, and who won."""
