"""An AI factory on localhost, played over the real protocols from its own sources. Imports nothing of ours."""
