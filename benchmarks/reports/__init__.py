"""What was measured, as tables, records and plots. Imports what measured it."""
