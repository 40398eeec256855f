package io.mobilemod.core.maps

import io.mobilemod.core.JsonException

/** A map's rows as the lengths of its runs: class, count, class, count, … */
object Runs {
    fun of(map: ClassMap): List<Long> {
        val runs = ArrayList<Long>()
        for (i in map.codes.indices) {
            if (i > 0 && map.codes[i] == map.codes[i - 1]) {
                runs[runs.size - 1]++
            } else {
                runs.add(map.code(i).toLong())
                runs.add(1)
            }
        }
        return runs
    }

    /** The map of that [size]; a [JsonException] that names [where] for what aren't the runs of one. */
    fun read(
        runs: List<Long>,
        size: MapSize,
        where: String = "runs",
    ): ClassMap {
        fun wrong(what: String): Nothing = throw JsonException("$where: $what")

        val codes = ByteArray(size.pixels)
        if (runs.size % 2 != 0) wrong("a class or a count lacks its other")
        var at = 0
        for ((i, run) in runs.chunked(2).withIndex()) {
            val (code, count) = run
            if (code !in 0..NONE) wrong("$code is no class")
            if (count < 1) wrong("$count is no count")
            if (i > 0 && code == runs[2 * i - 2]) wrong("class $code follows itself")
            if (count > codes.size - at) wrong("more than ${codes.size} pixels")
            codes.fill(code.toByte(), at, at + count.toInt())
            at += count.toInt()
        }
        if (at != codes.size) wrong("$at pixels of ${codes.size}")
        return ClassMap(size, codes)
    }
}
