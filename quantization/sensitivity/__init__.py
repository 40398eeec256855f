"""What int8 costs by module and tensor: the program with switches, the effects, their record."""
