package io.mobilemod.core

import io.mobilemod.core.ResampleAxis.Companion.PRECISION
import io.mobilemod.core.ResampleAxis.Companion.TAPS_AT_ONCE
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/**
 * What both passes read and write: pixels of [argb] from [origin] on, [firstStep] and [secondStep] apart
 * along the axes of the passes, and the bytes of [out], [outFirst] and [outSecond] apart.
 */
internal class ResampleWork(
    val argb: IntArray,
    val origin: Int,
    val first: ResampleAxis,
    val firstStep: Int,
    val second: ResampleAxis,
    val secondStep: Int,
    val out: ByteArray,
    val outFirst: Int,
    val outSecond: Int,
) {
    /** Pixels that are read. */
    val reads = first.reads.toLong() * second.reads
}

/**
 * Both passes over a part of the second one's outputs. Every inner loop runs over one index of a few
 * int arrays, which compilers make vector code of: over lines in the first pass, whose pixels are laid
 * beside each other for it, over a line's values in the second. Of pixels and lines only those are kept
 * that the next output reads, each in the place of its number modulo a power of two.
 */
internal class ResamplePasses {
    private var channels = emptyArray<Array<IntArray>>()
    private var lines = emptyArray<IntArray>()
    private var lanes = 0
    private var raw = emptyArray<IntArray>()
    private var sums = emptyArray<IntArray>()
    private var sum = IntArray(0)

    /** Outputs [from] until [until] of the second axis. */
    fun run(
        work: ResampleWork,
        from: Int,
        until: Int,
    ) {
        allocate(work)
        val (first, second) = work.first to work.second
        val mask = lines.size - 1
        var done = second.start[from]
        for (i in from until until) {
            // Lines that no output reads, as of the nearest pixel, are skipped.
            done = max(done, second.start[i])
            while (done < second.end(i)) {
                val count = min(lanes, second.end(until - 1) - done)
                firstPass(work, done, count)
                done += count
            }
            val size = 3 * first.size
            sum.fill(HALF, 0, size)
            weigh(second, i) { k, a, b, c, d ->
                add(sum, lines[k and mask], lines[k + 1 and mask], lines[k + 2 and mask], lines[k + 3 and mask], a, b, c, d, size)
            }
            clip(sum, size)
            write(work, i)
        }
    }

    private fun allocate(work: ResampleWork) {
        val places = powerOfTwo(work.first.taps + CHUNK)
        val most = min(LINES, (work.second.reads + LINES_AT_ONCE - 1) / LINES_AT_ONCE * LINES_AT_ONCE)
        if (lanes != most || channels[0].size < places) {
            lanes = most
            channels = Array(3) { Array(places) { IntArray(lanes) } }
            raw = Array(CHUNK) { IntArray(lanes) }
            sums = Array(3) { IntArray(lanes) }
        }
        val kept = powerOfTwo(work.second.taps + lanes)
        val size = 3 * work.first.size
        if (lines.size < kept || sum.size < size) {
            lines = Array(kept) { IntArray(size) }
            sum = IntArray(size)
        }
    }

    /** [count] lines from [line] on, each into its place. */
    private fun firstPass(
        work: ResampleWork,
        line: Int,
        count: Int,
    ) {
        val axis = work.first
        val mask = channels[0].size - 1
        var done = axis.start[0]
        for (i in 0 until axis.size) {
            done = max(done, axis.start[i])
            while (done < axis.end(i)) {
                val columns = min(CHUNK, axis.end(axis.size - 1) - done)
                load(work, done, columns, line, count)
                done += columns
            }
            for (channel in 0 until 3) {
                val pixels = channels[channel]
                val sum = sums[channel]
                sum.fill(HALF, 0, count)
                weigh(axis, i) { k, a, b, c, d ->
                    add(sum, pixels[k and mask], pixels[k + 1 and mask], pixels[k + 2 and mask], pixels[k + 3 and mask], a, b, c, d, count)
                }
                clip(sum, count)
            }
            val (r, g, b) = sums
            for (n in 0 until count) {
                val to = lines[line + n and lines.size - 1]
                to[3 * i] = r[n]
                to[3 * i + 1] = g[n]
                to[3 * i + 2] = b[n]
            }
        }
    }

    /** The channels of [columns] pixels from [column] on of so many lines. */
    private fun load(
        work: ResampleWork,
        column: Int,
        columns: Int,
        line: Int,
        count: Int,
    ) {
        val (across, down) = work.firstStep to work.secondStep
        val origin = work.origin + column * across + line * down
        if (abs(across) == 1) {
            for (n in 0 until count step LINES_AT_ONCE) copyLines(work.argb, origin, across, down, n, count, columns)
        } else {
            for (x in 0 until columns) copyColumn(work.argb, origin + x * across, down, raw[x], count)
        }
        val mask = channels[0].size - 1
        for (x in 0 until columns) {
            val at = column + x and mask
            split(raw[x], channels[0][at], channels[1][at], channels[2][at], count)
        }
    }

    /** Lines [line] to [line] + 3, as far as there are [count]: the others repeat the last. */
    private fun copyLines(
        argb: IntArray,
        origin: Int,
        step: Int,
        lineStep: Int,
        line: Int,
        count: Int,
        columns: Int,
    ) {
        val last = count - 1
        var a = origin + line * lineStep
        var b = origin + min(line + 1, last) * lineStep
        var c = origin + min(line + 2, last) * lineStep
        var d = origin + min(line + 3, last) * lineStep
        for (x in 0 until columns) {
            val to = raw[x]
            to[line] = argb[a]
            to[line + 1] = argb[b]
            to[line + 2] = argb[c]
            to[line + 3] = argb[d]
            a += step
            b += step
            c += step
            d += step
        }
    }

    private fun copyColumn(
        argb: IntArray,
        origin: Int,
        step: Int,
        to: IntArray,
        count: Int,
    ) {
        var at = origin
        for (n in 0 until count) {
            to[n] = argb[at]
            at += step
        }
    }

    private fun write(
        work: ResampleWork,
        i: Int,
    ) {
        var at = i * work.outSecond
        for (n in 0 until work.first.size) {
            work.out[at] = sum[3 * n].toByte()
            work.out[at + 1] = sum[3 * n + 1].toByte()
            work.out[at + 2] = sum[3 * n + 2].toByte()
            at += work.outFirst
        }
    }

    private companion object {
        const val HALF = 1 shl (PRECISION - 1)

        /** Lines that go through the first pass at once, and pixels of each that are loaded at once. */
        const val LINES = 128
        const val CHUNK = 64
        const val LINES_AT_ONCE = 4

        fun powerOfTwo(least: Int): Int = if (least <= 1) 1 else Integer.highestOneBit(least - 1) shl 1

        /** The inputs of output [i], [TAPS_AT_ONCE] with their weights at a time. */
        inline fun weigh(
            axis: ResampleAxis,
            i: Int,
            add: (Int, Int, Int, Int, Int) -> Unit,
        ) {
            val values = axis.values
            val base = i * axis.taps
            for (k in 0 until axis.count[i] step TAPS_AT_ONCE) {
                add(axis.start[i] + k, values[base + k], values[base + k + 1], values[base + k + 2], values[base + k + 3])
            }
        }

        fun add(
            sum: IntArray,
            p: IntArray,
            q: IntArray,
            r: IntArray,
            s: IntArray,
            a: Int,
            b: Int,
            c: Int,
            d: Int,
            size: Int,
        ) {
            for (i in 0 until size) sum[i] += p[i] * a + q[i] * b + r[i] * c + s[i] * d
        }

        fun clip(
            sum: IntArray,
            size: Int,
        ) {
            for (i in 0 until size) sum[i] = min(max(sum[i] shr PRECISION, 0), 255)
        }

        fun split(
            argb: IntArray,
            r: IntArray,
            g: IntArray,
            b: IntArray,
            size: Int,
        ) {
            for (i in 0 until size) {
                r[i] = argb[i] shr 16 and 255
                g[i] = argb[i] shr 8 and 255
                b[i] = argb[i] and 255
            }
        }
    }
}
