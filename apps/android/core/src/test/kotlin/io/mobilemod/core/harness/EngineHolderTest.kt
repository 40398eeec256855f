package io.mobilemod.core.harness

import io.mobilemod.core.PreprocessSpec
import org.junit.Test
import java.io.File
import java.util.concurrent.CountDownLatch
import kotlin.concurrent.thread
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue

class EngineHolderTest {
    private val events = ArrayList<String>()

    private open inner class Recorded(
        private val name: String,
    ) : Engine {
        override val runtime = name
        override val partitions: Int? = null
        override val fallback: Int? = null
        override val layout = PreprocessSpec.Layout.NCHW

        override fun run(input: FloatArray): FloatArray = input

        override fun close() {
            events.add("close $name")
        }
    }

    private val holder =
        EngineHolder {
            if (it.model.name == "bad") throw UnavailableException("no")
            events.add("load ${it.model.name}")
            Recorded(it.model.name)
        }

    private fun request(
        name: String,
        threads: Int,
    ) = LoadRequest(File(name), "tflite", threads, "cpu", longArrayOf(1, 3, 2, 2))

    private val input = floatArrayOf(1f)

    @Test
    fun anotherNumberOfThreadsClosesWhatIsOpenBeforeItLoads() {
        val camera = holder.open("camera", request("a", 4))
        holder.open("self-test", request("b", 1))
        assertEquals(listOf("load a", "close a", "load b"), events)
        assertFailsWith<IllegalStateException> { camera.run(input) }
        camera.close()
        assertEquals(3, events.size)
    }

    @Test
    fun anotherOwnerClosesWhatIsOpen() {
        holder.open("camera", request("a", 2))
        holder.open("benchmark", request("b", 2))
        assertEquals(listOf("load a", "close a", "load b"), events)
    }

    @Test
    fun twoFilesOfOneOwnerAreOpenTogether() {
        val both = listOf(holder.open("camera", request("a", 2)), holder.open("camera", request("b", 2)))
        both.forEach { assertEquals(1f, it.run(input)[0]) }
        holder.closeAll("benchmark")
        assertEquals(listOf("load a", "load b"), events)
        holder.closeAll("camera")
        both.forEach { assertFailsWith<IllegalStateException> { it.run(input) } }
    }

    @Test
    fun aLoadThatFailsLeavesTheOthersClosed() {
        holder.open("camera", request("a", 4))
        assertFailsWith<UnavailableException> { holder.open("camera", request("bad", 1)) }
        assertEquals(listOf("load a", "close a"), events)
        holder.open("camera", request("c", 1))
        assertEquals("load c", events.last())
    }

    @Test
    fun aRunEndsBeforeItsModelIsClosed() {
        val begun = CountDownLatch(1)
        val go = CountDownLatch(1)
        val slow =
            EngineHolder {
                object : Recorded("slow") {
                    override fun run(input: FloatArray): FloatArray {
                        begun.countDown()
                        go.await()
                        events.add("ran")
                        return input
                    }
                }
            }
        val engine = slow.open("camera", request("slow", 1))
        val running = thread { engine.run(input) }
        begun.await()
        val closing = thread { slow.closeAll("camera") }
        closing.join(50)
        assertTrue(closing.isAlive)
        go.countDown()
        listOf(running, closing).forEach { it.join() }
        assertEquals(listOf("ran", "close slow"), events)
    }

    @Test
    fun whatIsMadeHalfIsClosed() {
        var closed = 0
        val whole = AutoCloseable { closed++ }
        assertEquals(3, whole.orClosed { 3 })
        assertEquals(0, closed)
        assertFailsWith<OutOfMemoryError> { whole.orClosed { throw OutOfMemoryError() } }
        assertEquals(1, closed)
        assertFalse(events.any())
    }
}
