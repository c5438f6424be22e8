"""What an answer must or must not contain, as automata over tokens."""
