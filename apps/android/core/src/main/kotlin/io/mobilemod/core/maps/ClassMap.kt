package io.mobilemod.core.maps

import io.mobilemod.core.hex
import java.security.MessageDigest

/** In an answer: no class, for a score wasn't finite. In a truth: not labelled. */
const val NONE = 255
private const val CODES = 256

/** Pixels of a map. */
data class MapSize(
    val height: Int,
    val width: Int,
) {
    val pixels: Int get() = height * width
}

/** A class of a map and its share of the pixels with a class, 0 to 1. */
data class Share(
    val code: Int,
    val share: Double,
)

/** A map of classes: uint8 [codes], row by row. */
class ClassMap(
    val size: MapSize,
    val codes: ByteArray,
) {
    init {
        require(codes.size == size.pixels) { "${codes.size} codes, not $size" }
    }

    fun code(pixel: Int): Int = codes[pixel].toInt() and 255

    /** The classes, most pixels first, of equals the lower code; [NONE] is none. */
    fun shares(): List<Share> {
        val counts = IntArray(CODES)
        for (i in codes.indices) counts[code(i)]++
        val all = codes.size - counts[NONE]
        return (0 until NONE)
            .filter { counts[it] > 0 }
            .sortedByDescending { counts[it] }
            .map { Share(it, counts[it].toDouble() / all) }
    }

    /** The pixel under each of another size's centres. */
    fun laidOn(other: MapSize): ClassMap {
        fun nearest(
            at: Int,
            source: Int,
            target: Int,
        ) = ((2L * at + 1) * source / (2L * target)).toInt()

        val columns = IntArray(other.width) { nearest(it, size.width, other.width) }
        val rows = IntArray(other.height) { nearest(it, size.height, other.height) * size.width }
        return ClassMap(other, ByteArray(other.pixels) { codes[rows[it / other.width] + columns[it % other.width]] })
    }

    /** SHA-256 of the codes' bytes, as 64 hex digits. */
    fun sha256(): String = MessageDigest.getInstance("SHA-256").digest(codes).hex()

    /** Percent of the pixels to which [other], of the same size, gives the same class. */
    fun alikePercent(other: ClassMap): Double =
        100.0 * codes.indices.count { code(it) != NONE && codes[it] == other.codes[it] } / codes.size
}

/** Pixels by true and answered code of one or more maps. */
class Confusion {
    private val counts = LongArray(CODES * CODES)

    operator fun get(
        truth: Int,
        answer: Int,
    ): Long = counts[truth * CODES + answer]

    /** Counts [answer], laid on [truth]; pixels that aren't labelled are left out. */
    fun add(
        answer: ClassMap,
        truth: ClassMap,
    ): Confusion {
        val laid = answer.laidOn(truth.size)
        for (i in truth.codes.indices) {
            if (truth.code(i) != NONE) counts[truth.code(i) * CODES + laid.code(i)]++
        }
        return this
    }

    /** Percent: intersection over union, in the mean over the classes with pixels; 0 where none has. */
    fun meanIou(): Double {
        val each =
            (0 until NONE).mapNotNull { code ->
                val either = (0 until CODES).sumOf { this[code, it] + this[it, code] } - this[code, code]
                if (either == 0L) null else 100.0 * this[code, code] / either
            }
        return if (each.isEmpty()) 0.0 else each.average()
    }
}
