package io.mobilemod.core

import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel

/**
 * Reads from a `.tflite` file, a flatbuffer, how its input lies in memory: converters may turn the
 * network's channels-first input into a channels-last one. Source: the schema of TensorFlow Lite,
 * `Model.subgraphs[0].inputs[0]`, and the flatbuffers format.
 */
object TfliteFile {
    private const val SUBGRAPHS = 2
    private const val TENSORS = 0
    private const val INPUTS = 1
    private const val SHAPE = 0
    private const val IDENTIFIER = "TFL3"
    private const val FIRST_FIELD = 4
    private const val LONGEST_SHAPE = 8

    /** Layout of the first input of [file]; throws `IOException` for what is no image's input, or no such file. */
    fun layout(file: File): PreprocessSpec.Layout {
        val shape = inputShape(file)
        return when {
            shape.size == 4 && shape[3] == 3L && shape[1] == shape[2] -> PreprocessSpec.Layout.NHWC
            shape.size == 4 && shape[1] == 3L && shape[2] == shape[3] -> PreprocessSpec.Layout.NCHW
            else -> throw IOException("${file.name} takes an input of shape ${shape.toList()}, which is no image")
        }
    }

    /** Shape of the first input of [file]. */
    fun inputShape(file: File): LongArray =
        RandomAccessFile(file, "r").use { opened ->
            val data = opened.channel.map(FileChannel.MapMode.READ_ONLY, 0, opened.length())
            data.order(ByteOrder.LITTLE_ENDIAN)
            try {
                read(data)
            } catch (_: IndexOutOfBoundsException) {
                throw IOException("${file.name} is no .tflite file, or a damaged one")
            }
        }

    private fun read(data: ByteBuffer): LongArray {
        for ((i, c) in IDENTIFIER.withIndex()) if (data.get(4 + i) != c.code.toByte()) throw IndexOutOfBoundsException()
        val model = follow(data, 0)
        val graph = element(data, vector(data, model, SUBGRAPHS), 0)
        val input = data.getInt(vector(data, graph, INPUTS) + 4)
        val tensor = element(data, vector(data, graph, TENSORS), input)
        val shape = vector(data, tensor, SHAPE)
        val rank = data.getInt(shape)
        if (rank !in 0..LONGEST_SHAPE) throw IndexOutOfBoundsException()
        return LongArray(rank) { data.getInt(shape + 4 + 4 * it).toLong() }
    }

    private fun follow(
        data: ByteBuffer,
        at: Int,
    ): Int = at + data.getInt(at)

    /** Where the vector in field [field] of the table at [table] begins, with its count. */
    private fun vector(
        data: ByteBuffer,
        table: Int,
        field: Int,
    ): Int {
        val fields = table - data.getInt(table)
        val at = FIRST_FIELD + 2 * field
        if (at >= data.getShort(fields)) throw IndexOutOfBoundsException()
        val offset = data.getShort(fields + at).toInt() and 0xffff
        if (offset == 0) throw IndexOutOfBoundsException()
        return follow(data, table + offset)
    }

    /** The table that element [index] of the vector at [vector] refers to. */
    private fun element(
        data: ByteBuffer,
        vector: Int,
        index: Int,
    ): Int {
        if (index !in 0 until data.getInt(vector)) throw IndexOutOfBoundsException()
        return follow(data, vector + 4 + 4 * index)
    }
}
