package io.mobilemod.core

import java.io.File
import kotlin.test.fail

/** The repository's shared vectors: what Python computes, for every implementation. */
object Vectors {
    private val folder = File(System.getProperty("mobilemod.vectors", "../../../tests/vectors"))

    fun read(name: String): JsonObject {
        val file = File(folder, name)
        if (!file.isFile) fail("${file.absolutePath} is missing; set -Dmobilemod.vectors")
        return JsonObject.parse(file.readText(), name)
    }

    /** The image of a case in `preprocess.json`, drawn by its formula. */
    fun draw(case: JsonObject): DecodedImage {
        val width = case.whole("width")
        val height = case.whole("height")
        val channels = case.whole("channels")
        val pattern = case.text("pattern")
        val argb =
            IntArray(width * height) { i ->
                val values = IntArray(channels) { value(pattern, i % width, i / width, it) }
                val alpha = if (channels == 4) values[3] else 255
                val rgb = if (channels == 1) IntArray(3) { values[0] } else values
                (alpha shl 24) or (rgb[0] shl 16) or (rgb[1] shl 8) or rgb[2]
            }
        return DecodedImage(width, height, argb, case.whole("orientation"))
    }

    private fun value(
        pattern: String,
        x: Int,
        y: Int,
        c: Int,
    ): Int =
        when (pattern) {
            "ramp" -> {
                3 * x + 5 * y + 40 * c + (x * y shr 4) and 255
            }

            "checks" -> {
                ((x shr 3) + (y shr 3) + c) % 2 * 255
            }

            "noise" -> {
                var h = (x * 73856093) xor (y * 19349663) xor (c * 83492791)
                h = (h xor (h ushr 13)) * 0x5bd1e995
                (h xor (h ushr 15)) and 255
            }

            else -> {
                fail("pattern $pattern")
            }
        }
}
