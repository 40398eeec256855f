package io.mobilemod.core

/** A text that is not JSON, or JSON without what a reader needs; the message says where. */
class JsonException(
    message: String,
) : Exception(message)

/**
 * Reads and writes JSON (RFC 8259) without a library. Objects are `Map<String, Any?>`, arrays
 * `List<Any?>`, numbers `Long` where they are written without point and exponent, else `Double`.
 *
 * By hand, as Gson's parser also takes `'a'`, `{a:1}` and `NaN`, which a job's other readers refuse.
 */
object Json {
    /** Deeper nesting is refused, so that no text can overflow the stack. */
    const val MAX_DEPTH = 100

    /** The value of [text]; throws [JsonException] for anything but one JSON value. */
    fun parse(text: String): Any? = Parser(text).whole()

    /**
     * [value] without spaces, non-ASCII characters as they are. A number that isn't finite becomes
     * null.
     */
    fun write(value: Any?): String = StringBuilder().also { append(it, value) }.toString()

    private fun append(
        out: StringBuilder,
        value: Any?,
    ) {
        when (value) {
            null -> {
                out.append("null")
            }

            is String -> {
                appendString(out, value)
            }

            is Boolean, is Int, is Long -> {
                out.append(value)
            }

            is Float -> {
                appendNumber(out, value.toDouble())
            }

            is Double -> {
                appendNumber(out, value)
            }

            is Map<*, *> -> {
                appendAll(out, '{', value.entries, '}') { (key, item) ->
                    appendString(out, key as String)
                    out.append(':')
                    append(out, item)
                }
            }

            is Iterable<*> -> {
                appendAll(out, '[', value, ']') { append(out, it) }
            }

            is FloatArray -> {
                appendAll(out, '[', value.asIterable(), ']') { append(out, it) }
            }

            is DoubleArray -> {
                appendAll(out, '[', value.asIterable(), ']') { append(out, it) }
            }

            else -> {
                throw IllegalArgumentException("no JSON for ${value.javaClass.name}")
            }
        }
    }

    private fun <T> appendAll(
        out: StringBuilder,
        open: Char,
        items: Iterable<T>,
        close: Char,
        one: (T) -> Unit,
    ) {
        out.append(open)
        items.forEachIndexed { index, item ->
            if (index > 0) out.append(',')
            one(item)
        }
        out.append(close)
    }

    private fun appendNumber(
        out: StringBuilder,
        value: Double,
    ) {
        if (value.isNaN() || value.isInfinite()) out.append("null") else out.append(value)
    }

    private fun appendString(
        out: StringBuilder,
        value: String,
    ) {
        out.append('"')
        for (c in value) {
            when {
                c == '"' -> out.append("\\\"")
                c == '\\' -> out.append("\\\\")
                c == '\n' -> out.append("\\n")
                c == '\r' -> out.append("\\r")
                c == '\t' -> out.append("\\t")
                c < ' ' -> out.append("\\u%04x".format(c.code))
                else -> out.append(c)
            }
        }
        out.append('"')
    }

    private class Parser(
        private val text: String,
    ) {
        private var at = 0

        fun whole(): Any? {
            val value = value(0)
            space()
            if (at < text.length) fail("text after the value")
            return value
        }

        private fun fail(what: String): Nothing = throw JsonException("$what at character $at")

        private fun space() {
            while (at < text.length && text[at] in " \t\n\r") at++
        }

        private fun value(depth: Int): Any? {
            if (depth > MAX_DEPTH) fail("nested more than $MAX_DEPTH deep")
            space()
            if (at == text.length) fail("the text ends early")
            return when (text[at]) {
                '{' -> objectAt(depth)
                '[' -> arrayAt(depth)
                '"' -> string()
                't' -> word("true", true)
                'f' -> word("false", false)
                'n' -> word("null", null)
                else -> number()
            }
        }

        private fun <T> word(
            word: String,
            value: T,
        ): T {
            if (!text.startsWith(word, at)) fail("unexpected character")
            at += word.length
            return value
        }

        private fun next(expected: String): Char {
            space()
            if (at == text.length) fail("the text ends early")
            val c = text[at]
            if (c !in expected) fail("expected one of '$expected'")
            at++
            return c
        }

        private fun objectAt(depth: Int): Map<String, Any?> {
            val found = LinkedHashMap<String, Any?>()
            at++
            space()
            if (at < text.length && text[at] == '}') {
                at++
                return found
            }
            do {
                next("\"")
                at--
                val key = string()
                next(":")
                found[key] = value(depth + 1)
            } while (next(",}") == ',')
            return found
        }

        private fun arrayAt(depth: Int): List<Any?> {
            val found = ArrayList<Any?>()
            at++
            space()
            if (at < text.length && text[at] == ']') {
                at++
                return found
            }
            do found.add(value(depth + 1)) while (next(",]") == ',')
            return found
        }

        private fun string(): String {
            val out = StringBuilder()
            at++
            while (true) {
                if (at == text.length) fail("a string has no end")
                val c = text[at++]
                when {
                    c == '"' -> return out.toString()
                    c < ' ' -> fail("a control character in a string")
                    c == '\\' -> out.append(escaped())
                    else -> out.append(c)
                }
            }
        }

        private fun escaped(): Char {
            if (at == text.length) fail("a string has no end")
            return when (val c = text[at++]) {
                '"', '\\', '/' -> {
                    c
                }

                'b' -> {
                    '\b'
                }

                'f' -> {
                    '\u000c'
                }

                'n' -> {
                    '\n'
                }

                'r' -> {
                    '\r'
                }

                't' -> {
                    '\t'
                }

                'u' -> {
                    val digits = text.drop(at).take(4)
                    if (!HEX4.matches(digits)) fail("a wrong \\u escape")
                    at += 4
                    digits.toInt(16).toChar()
                }

                else -> {
                    fail("a wrong escape")
                }
            }
        }

        private fun number(): Number {
            val start = at
            while (at < text.length && text[at] in "+-.0123456789Ee") at++
            val digits = text.substring(start, at)
            if (!NUMBER.matches(digits)) {
                at = start
                fail("unexpected character")
            }
            return digits.toLongOrNull() ?: digits.toDouble()
        }
    }

    private val HEX4 = Regex("[0-9A-Fa-f]{4}")
    private val NUMBER = Regex("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")
}

/** A JSON object with typed access; a wrong or missing member is a [JsonException] that names it. */
class JsonObject(
    private val members: Map<String, Any?>,
    private val where: String,
) {
    /** The members as they were read. */
    fun raw(): Map<String, Any?> = members

    /** What the members are called. */
    val keys: Set<String> get() = members.keys

    /** The text of member [key]. */
    fun text(key: String): String = member(key) as? String ?: wrong(key, "a string")

    /** The whole number of member [key], at least [atLeast]. */
    fun whole(
        key: String,
        atLeast: Int = Int.MIN_VALUE,
    ): Int = wholeOf(key, member(key), atLeast)

    /** The whole numbers of the array in member [key], or null where it is no array. */
    fun wholesOrNull(
        key: String,
        atLeast: Int = Int.MIN_VALUE,
    ): List<Int>? = (member(key) as? List<*>)?.map { wholeOf(key, it, atLeast) }

    /** The whole numbers of the array in member [key]. */
    fun wholes(
        key: String,
        atLeast: Int = Int.MIN_VALUE,
    ): List<Int> = wholesOrNull(key, atLeast) ?: wrong(key, "an array")

    private fun wholeOf(
        key: String,
        value: Any?,
        atLeast: Int,
    ): Int {
        if (value !is Long) wrong(key, "a whole number")
        if (value < atLeast || value > Int.MAX_VALUE) wrong(key, "a number of at least $atLeast")
        return value.toInt()
    }

    /** The number of member [key]. */
    fun number(key: String): Double = (member(key) as? Number)?.toDouble() ?: wrong(key, "a number")

    /** The truth value of member [key]; false where it is missing. */
    fun flag(key: String): Boolean = (members[key] ?: false) as? Boolean ?: wrong(key, "true or false")

    /** The object in member [key]. */
    fun child(key: String): JsonObject = objectOf(member(key), "$where.$key")

    /** The object in member [key], or null where it is null or missing. */
    fun childOrNull(key: String): JsonObject? = members[key]?.let { objectOf(it, "$where.$key") }

    /** The text of member [key], or null where it is null or missing. */
    fun textOrNull(key: String): String? = if (members[key] == null) null else text(key)

    /** The whole number of member [key], or null where it is null or missing. */
    fun wholeOrNull(key: String): Int? = if (members[key] == null) null else whole(key)

    /** The array in member [key]. */
    fun list(key: String): List<Any?> = member(key) as? List<*> ?: wrong(key, "an array")

    /** The objects of the array in member [key]. */
    fun objects(key: String): List<JsonObject> = list(key).mapIndexed { i, item -> objectOf(item, "$where.$key[$i]") }

    /** The numbers of the array in member [key]. */
    fun numbers(key: String): List<Double> = list(key).map { (it as? Number)?.toDouble() ?: wrong(key, "an array of numbers") }

    private fun member(key: String): Any? {
        if (key !in members) throw JsonException("$where: '$key' is missing")
        return members[key]
    }

    private fun wrong(
        key: String,
        expected: String,
    ): Nothing = throw JsonException("$where: '$key' is not $expected")

    companion object {
        /** [text] as an object; [where] names it in messages. */
        fun parse(
            text: String,
            where: String,
        ): JsonObject =
            try {
                objectOf(Json.parse(text), where)
            } catch (error: JsonException) {
                throw JsonException("$where: ${error.message?.removePrefix("$where: ")}")
            }

        private fun objectOf(
            value: Any?,
            where: String,
        ): JsonObject {
            if (value !is Map<*, *>) throw JsonException("$where: not an object")
            return JsonObject(value.entries.associate { it.key as String to it.value }, where)
        }
    }
}
