package io.mobilemod.core

import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import kotlin.random.Random
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue

class PlatformTest {
    @get:Rule
    val temporary = TemporaryFolder()

    @Test
    fun aFrameIsReadWithItsRowStride() {
        val buffer = ByteBuffer.allocateDirect(1 + 2 * 12)
        buffer.position(1)
        val bytes = byteArrayOf(1, 2, 3, 9, 4, 5, 6, 9, 0, 0, 0, 0, -1, 8, 7, 9, 10, 11, 12, 9, 0, 0, 0, 0)
        buffer.duplicate().put(bytes)
        val image = decodedFromRgba(buffer, 2, 2, 12, 90)
        assertContentEquals(intArrayOf(0x010203, 0x040506, 0xff0807, 0x0a0b0c).map { it or (255 shl 24) }.toIntArray(), image.argb)
        assertEquals(6, image.orientation)
        assertEquals(1, buffer.position())
    }

    @Test
    fun rotationsAreExifOrientations() {
        assertEquals(listOf(1, 6, 3, 8, 8), listOf(0, 90, 180, 270, -90).map(::orientationOf))
        assertFailsWith<IllegalArgumentException> { orientationOf(45) }
    }

    @Test
    fun aFileSaysHowItTakesItsInput() {
        val folder = System.getProperty("mobilemod.bundle")
        org.junit.Assume.assumeNotNull(folder)
        val files = File(folder).listFiles()!!.filter { it.extension == "tflite" }
        assertTrue(files.isNotEmpty())
        for (file in files) {
            val shape = TfliteFile.inputShape(file)
            assertEquals(3L, if (TfliteFile.layout(file) == PreprocessSpec.Layout.NHWC) shape[3] else shape[1])
        }
    }

    @Test
    fun damagedModelFilesAreRefused() {
        val file = temporary.newFile("a.tflite")
        val random = Random(4)
        repeat(2_000) {
            val bytes = random.nextBytes(random.nextInt(200))
            if (bytes.size > 8) "TFL3".forEachIndexed { i, c -> bytes[4 + i] = c.code.toByte() }
            if (bytes.size > 8) byteArrayOf(random.nextInt(60).toByte(), 0, 0, 0).copyInto(bytes)
            file.writeBytes(bytes)
            assertFailsWith<IOException> { TfliteFile.layout(file) }
        }
    }

    @Test
    fun thisProcessHasMemory() {
        val bytes = assertNotNull(LinuxFacts().residentBytes())
        assertTrue(bytes > 10_000_000, "$bytes")
    }

    @Test
    fun frequenciesAreReadOrNull() {
        val cpus = temporary.newFolder()
        assertNull(LinuxFacts(File("/nowhere"), cpus).frequencies())
        assertNull(LinuxFacts(File("/nowhere"), cpus).residentBytes())
        File(cpus, "cpu0/cpufreq").mkdirs()
        File(cpus, "cpu0/cpufreq/scaling_cur_freq").writeText("1785600\n")
        assertEquals(listOf(1_785_600_000L), LinuxFacts(File("/nowhere"), cpus).frequencies())
    }
}
