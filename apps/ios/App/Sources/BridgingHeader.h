#include "Engines/ThreadCount.h"
