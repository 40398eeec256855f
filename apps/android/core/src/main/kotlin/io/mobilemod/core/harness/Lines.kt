package io.mobilemod.core.harness

import io.mobilemod.core.Json
import io.mobilemod.core.JsonException
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.util.zip.CRC32

/** The protocol's lines: JSON objects whose last member is a check of the bytes before it. */
object Lines {
    const val PROTOCOL = "mobilemod/harness/1"

    /** A line with its line feed may have this many bytes. */
    const val MAX_BYTES = 1 shl 20
    private const val CHECK = ",\"crc\":\""
    private val TAIL = Regex(",\"crc\":\"([0-9a-f]{8})\"\\}$")

    /** [values] as a line, without line feed. */
    fun encode(values: Map<String, Any?>): String {
        val body = Json.write(values).dropLast(1)
        return "$body$CHECK${crc(body)}\"}"
    }

    /** What [line] says, without `crc`; null where the line is damaged. */
    @Suppress("UNCHECKED_CAST")
    fun decode(line: String): Map<String, Any?>? {
        if (line.length > MAX_BYTES) return null
        val tail = TAIL.find(line) ?: return null
        val body = line.substring(0, tail.range.first)
        if (crc(body) != tail.groupValues[1]) return null
        return try {
            Json.parse("$body}") as? Map<String, Any?>
        } catch (_: JsonException) {
            null
        }
    }

    private fun crc(body: String): String = "%08x".format(CRC32().apply { update(body.toByteArray()) }.value)
}

/** Lines can't be written any more, as on a full disk. */
class SinkException(
    cause: IOException,
) : IOException("the stream can't be written: ${cause.message}", cause)

/** Where lines go; each is whole on disk, or sent, when [write] returns. */
fun interface LineSink {
    fun write(line: String)
}

/**
 * Appends lines to a file. After a truncated line, left by an app that was killed or a full disk, the
 * next begins on a line of its own. Throws [SinkException] where the disk is full.
 */
class LineFile(
    file: File,
) : LineSink,
    Closeable {
    private val out: RandomAccessFile

    init {
        file.parentFile?.mkdirs()
        out = RandomAccessFile(file, "rw")
        val end = out.length()
        if (end > 0) {
            out.seek(end - 1)
            if (out.read() != '\n'.code) out.write('\n'.code)
        }
    }

    override fun write(line: String) {
        // One write of the whole line: what is killed between two writes leaves no half line.
        try {
            out.write("$line\n".toByteArray())
        } catch (error: IOException) {
            throw SinkException(error)
        }
    }

    /** Asks the system to put what was written on disk. */
    fun sync() = out.fd.sync()

    override fun close() = out.close()
}
