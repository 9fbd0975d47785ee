"""The tests that every backend passes; third parties run them on their own."""
