"""The parts of the regression gate: what is demanded, what is compared with, and the tests of accuracy and cost."""
