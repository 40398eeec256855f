package io.mobilemod.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import kotlin.math.exp

/** A class and its logit. */
data class Ranked(
    val index: Int,
    val logit: Float,
)

/** The best [k] classes, best first; of equal logits the lower class, what isn't finite left out. */
fun topK(
    logits: FloatArray,
    k: Int,
): List<Ranked> {
    // Compared as numbers, not as `Float` objects, which would tell -0 from 0.
    val order = Comparator<Ranked> { a, b -> if (a.logit != b.logit) (if (a.logit > b.logit) -1 else 1) else a.index - b.index }
    return logits
        .mapIndexed { index, logit -> Ranked(index, logit) }
        .filter { it.logit.isFinite() }
        .sortedWith(order)
        .take(k)
}

/** Probabilities of [logits] (softmax), summing to 1; what isn't finite counts as 0. */
fun softmax(logits: FloatArray): FloatArray {
    val finite = logits.filter { it.isFinite() }
    if (finite.isEmpty()) return FloatArray(logits.size)
    val top = finite.max()
    val powers = DoubleArray(logits.size) { if (logits[it].isFinite()) exp((logits[it] - top).toDouble()) else 0.0 }
    val sum = powers.sum()
    return FloatArray(logits.size) { (powers[it] / sum).toFloat() }
}

/** SHA-256 of the float32 values, little-endian, as 64 hex digits. */
fun logitsSha256(logits: FloatArray): String {
    val bytes = ByteBuffer.allocate(4 * logits.size).order(ByteOrder.LITTLE_ENDIAN)
    logits.forEach { bytes.putFloat(it) }
    return MessageDigest.getInstance("SHA-256").digest(bytes.array()).hex()
}

/** Lower-case hex digits. */
fun ByteArray.hex(): String = joinToString("") { "%02x".format(it) }
