"""The loops as Triton programs; imported where one is to be launched, since importing Triton takes time."""
